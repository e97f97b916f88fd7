package engine

import (
	"math"
	"strconv"
	"strings"
)

// Given is what -o gave: options of the union and, in the second form, its parts.
type Given struct {
	Options
	Lowers   []string
	Upper    string
	Work     string
	Volumes  []string
	ReadOnly bool
}

// ParseOptions reads -o values: overlayfs's, fuse-overlayfs's and mount(8)'s
// words. What isn't built yet is refused by name, what is unknown is refused.
func ParseOptions(values []string) (Given, error) {
	var g Given
	for _, v := range values {
		words, err := splitOptions(v)
		if err != nil {
			return g, err
		}
		for _, w := range words {
			if w == "" {
				continue
			}
			key, value, has := strings.Cut(w, "=")
			if err := g.set(w, key, value, has); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// splitOptions cuts at commas that stand in no quotes and behind no backslash.
func splitOptions(s string) ([]string, error) {
	var out []string
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 < len(s) && s[i+1] == ',':
			b.WriteByte(',')
			i++
		case c == ',' && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return nil, fail(ErrUsage, "option "+s, "a quote is not closed")
	}
	return append(out, b.String()), nil
}

func (g *Given) set(word, key, value string, has bool) error {
	if g.setPart(key, value, has) || g.setWord(word) {
		return nil
	}
	switch key {
	case "redirect_dir":
		if value != "on" && value != "off" && value != "nofollow" && value != "follow" {
			return fail(ErrUsage, "option "+word, "want on, off, follow or nofollow")
		}
		g.Redirect = strings.Replace(value, "follow", "off", 1)
		if value == "nofollow" {
			g.Redirect = value
		}
		return nil
	case "writeback", "metacopy":
		if value != "on" && value != "off" {
			return fail(ErrUsage, "option "+word, "want on or off")
		}
		if key == "metacopy" {
			g.Metacopy = value == "on"
		} else {
			g.HoldBack = value
		}
		return nil
	case "timeout":
		sec, err := strconv.ParseFloat(value, 64)
		if err != nil || sec < 0 || sec > 1e9 {
			return fail(ErrUsage, "option "+word, "want seconds")
		}
		g.TimeoutMs = int64(math.Ceil(sec * 1000)) // 0 would be for ever
		g.Coherent = sec == 0
		return nil
	case "index", "xino", "uuid", "nfs_export", "fsync", "default_permissions", "fast_ino",
		"threaded", "subtype", "max_read", "big_writes", "nonempty":
		g.Ignored = append(g.Ignored, word)
		return nil
	case "uidmapping", "gidmapping", "squash_to_root", "squash_to_uid", "squash_to_gid", "xattr_permissions",
		"context", "fscontext", "defcontext", "rootcontext", "plugins", "verity", "remount":
		return unbuilt(key)
	}
	return fail(ErrUsage, "option "+word, "unknown: see unionmount mount --help")
}

func unbuilt(key string) error {
	return fail(ErrUnsupported, "option "+key, "not built yet: leave it out")
}

// setPart takes what names the union's parts and ways.
func (g *Given) setPart(key, value string, has bool) bool {
	switch key {
	case "lowerdir":
		g.Lowers = append(g.Lowers, splitLowers(value)...)
	case "upperdir":
		g.Upper = unescapeColon(value)
	case "workdir":
		g.Work = unescapeColon(value)
	case "volume":
		g.Volumes = append(g.Volumes, value)
	case "fsname":
		g.FSName = value
	case "userxattr":
		g.UserXattr = true
	case "volatile":
		g.Volatile = true
	case "noacl":
		g.NoACL = true
	case "static_nlink":
		g.StaticNlink = true
	case "allow_other":
		g.AllowOther = true
	default:
		return false
	}
	valued := key == "lowerdir" || key == "upperdir" || key == "workdir" || key == "volume" || key == "fsname"
	return valued == has
}

// setWord takes mount(8)'s words.
func (g *Given) setWord(w string) bool {
	switch w {
	case "ro":
		g.ReadOnly = true
		return true
	case "rw":
		g.ReadOnly = false
		return true
	case "dev", "nodev", "suid", "nosuid", "exec", "noexec", "atime", "noatime", "diratime", "nodiratime",
		"relatime", "strictatime", "sync", "async", "dirsync":
		g.Words = append(g.Words, w)
		return true
	case "defaults", "auto", "noauto", "user", "users", "nouser", "owner", "group", "nofail", "_netdev",
		"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
		"norelatime", "nostrictatime", "lazytime", "nolazytime", "silent", "loud", "mand", "nomand", "iversion", "noiversion":
		g.Ignored = append(g.Ignored, w)
		return true
	}
	if strings.HasPrefix(w, "x-") || strings.HasPrefix(w, "X-") || strings.HasPrefix(w, "comment=") {
		g.Ignored = append(g.Ignored, w)
		return true
	}
	return false
}

// splitLowers cuts at colons that no backslash escapes.
func splitLowers(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			out = append(out, unescapeColon(s[start:i]))
			start = i + 1
		}
	}
	return append(out, unescapeColon(s[start:]))
}

func unescapeColon(s string) string {
	return strings.NewReplacer(`\:`, ":", `\\`, `\`).Replace(s)
}
