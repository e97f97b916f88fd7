package driver

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// words are mount(8)'s options, as the o= of the local driver has them.
type words []string

func splitWords(s string) (w words) {
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			w = append(w, word)
		}
	}
	return w
}

func (w words) has(word string) bool { return slices.Contains(w, word) }

// value of the first KEY=VALUE.
func (w words) value(key string) string {
	for _, word := range w {
		if v, ok := strings.CutPrefix(word, key+"="); ok {
			return v
		}
	}
	return ""
}

// without leaves out words, and KEY=VALUE of a key.
func (w words) without(keys ...string) (rest words) {
	for _, word := range w {
		key, _, _ := strings.Cut(word, "=")
		if !slices.Contains(keys, key) {
			rest = append(rest, word)
		}
	}
	return rest
}

// flag is what a word of mount(8) says to mount(2).
type flag struct{ set, clear, propagation int }

// flags sorts words into the flags of mount(2), how the mount propagates, and
// what the file system itself must understand.
func (w words) flags() (flags, propagation int, data string) {
	var rest []string
	for _, word := range w {
		f, known := flagOf(word)
		if !known {
			rest = append(rest, word)
			continue
		}
		flags = flags&^f.clear | f.set
		propagation |= f.propagation
	}
	return flags, propagation, strings.Join(rest, ",")
}

func flagOf(word string) (f flag, known bool) {
	f, known = map[string]flag{
		"ro": {set: sys.MS_RDONLY}, "rw": {clear: sys.MS_RDONLY},
		"nosuid": {set: sys.MS_NOSUID}, "suid": {clear: sys.MS_NOSUID},
		"nodev": {set: sys.MS_NODEV}, "dev": {clear: sys.MS_NODEV},
		"noexec": {set: sys.MS_NOEXEC}, "exec": {clear: sys.MS_NOEXEC},
		"sync": {set: sys.MS_SYNCHRONOUS}, "async": {clear: sys.MS_SYNCHRONOUS},
		"dirsync": {set: sys.MS_DIRSYNC}, "mand": {set: sys.MS_MANDLOCK}, "nomand": {clear: sys.MS_MANDLOCK},
		"noatime": {set: sys.MS_NOATIME}, "atime": {clear: sys.MS_NOATIME},
		"nodiratime": {set: sys.MS_NODIRATIME}, "diratime": {clear: sys.MS_NODIRATIME},
		"relatime": {set: sys.MS_RELATIME}, "norelatime": {clear: sys.MS_RELATIME},
		"strictatime": {set: sys.MS_STRICTATIME}, "nostrictatime": {clear: sys.MS_STRICTATIME},
		"lazytime": {set: sys.MS_LAZYTIME}, "nolazytime": {clear: sys.MS_LAZYTIME},
		"silent": {set: sys.MS_SILENT}, "loud": {clear: sys.MS_SILENT},
		"private": {propagation: sys.MS_PRIVATE}, "rprivate": {propagation: sys.MS_PRIVATE | sys.MS_REC},
		"shared": {propagation: sys.MS_SHARED}, "rshared": {propagation: sys.MS_SHARED | sys.MS_REC},
		"slave": {propagation: sys.MS_SLAVE}, "rslave": {propagation: sys.MS_SLAVE | sys.MS_REC},
		"rbind": {set: sys.MS_REC}, "bind": {},
		"defaults": {}, "auto": {}, "noauto": {}, "_netdev": {}, "nofail": {}, // for fstab's readers
	}[word]
	return f, known || strings.HasPrefix(word, "x-")
}

// resolved looks up the host of addr=: the kernel takes numbers only.
func (w words) resolved(ctx context.Context) (words, error) {
	host := w.value("addr")
	if host == "" || net.ParseIP(host) != nil {
		return w, nil
	}
	ip, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return append(w.without("addr"), "addr="+ip), nil
}

func lookup(ctx context.Context, host string) (string, error) {
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
	}
	for _, ip := range ips { // as Docker: IPv4 if there is one
		if ip.To4() != nil {
			return ip.String(), nil
		}
	}
	return ips[0].String(), nil
}

const hidden = "********"

// secret tells whether the value of an option is nobody's business.
func secret(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return key == "pass" || strings.HasSuffix(key, "-pass") || strings.HasSuffix(key, "_pass")
}

// Hide returns the options as a person may see them, without passwords.
func Hide(options map[string]string) map[string]string {
	shown := make(map[string]string, len(options))
	for k, v := range options {
		switch {
		case secret(k):
			v = hidden
		case k == "o":
			v = hideWords(v)
		case k == "device":
			v = hideUser(v)
		}
		shown[k] = v
	}
	return shown
}

func hideWords(o string) string {
	list := strings.Split(o, ",")
	for i, word := range list {
		if key, _, ok := strings.Cut(word, "="); ok && secret(strings.TrimSpace(key)) {
			list[i] = key + "=" + hidden
		}
	}
	return strings.Join(list, ",")
}

// hideUser hides the password in user:password@host of a device.
func hideUser(device string) string {
	user, host, ok := strings.Cut(device, "@")
	i := strings.LastIndexByte(user, ':')
	if !ok || i < 0 || strings.HasPrefix(user[i:], "://") {
		return device
	}
	return user[:i+1] + hidden + "@" + host
}

// hideIn takes the passwords of o out of a text that somebody else wrote.
func hideIn(text string, w words) string {
	for _, word := range w {
		if key, value, ok := strings.Cut(word, "="); ok && secret(key) && value != "" {
			text = strings.ReplaceAll(text, value, hidden)
		}
	}
	return text
}

// number reads a user, a group or (base 8) a mode.
func number(word, value string, base, bits int) (int, error) {
	n, err := strconv.ParseUint(value, base, bits)
	if err != nil {
		return 0, fail(ErrBadOption, "invalid option: %s=%q is no number: want uid=1000,gid=1000,mode=0750", word, value)
	}
	return int(n), nil
}
