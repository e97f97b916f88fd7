package archive

import (
	"encoding/binary"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// ACLs are kept in tars as acl_to_text(3) writes them; in attributes in the kernel's
// form (linux/posix_acl_xattr.h).
const (
	xattrAccess  = "system.posix_acl_access"
	xattrDefault = "system.posix_acl_default"

	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8
	aclNobody  = ^uint32(0)
)

// aclTags are the kinds of entries, with their names in the long text form.
var aclTags = [...]struct {
	tag  uint16
	name string
	who  bool // it names somebody
}{{0x01, "user", false}, {0x02, "user", true}, {0x04, "group", false}, {0x08, "group", true}, {0x10, "mask", false}, {0x20, "other", false}}

// aclText is the text of an attribute, with numbers for users and groups.
func aclText(value []byte) (string, error) {
	if len(value) < aclHeader || binary.LittleEndian.Uint32(value) != aclVersion || (len(value)-aclHeader)%aclEntry != 0 {
		return "", fmt.Errorf("an ACL in an unknown form")
	}
	var out []string
	for e := value[aclHeader:]; len(e) > 0; e = e[aclEntry:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		i := slices.IndexFunc(aclTags[:], func(t struct {
			tag  uint16
			name string
			who  bool
		}) bool {
			return t.tag == tag
		})
		if i < 0 || perm > 7 {
			return "", fmt.Errorf("an ACL with an unknown entry")
		}
		who := ""
		if aclTags[i].who {
			who = strconv.FormatUint(uint64(id), 10)
		}
		out = append(out, aclTags[i].name+":"+who+":"+permText(perm))
	}
	return strings.Join(out, ","), nil
}

func permText(perm uint16) string {
	b := []byte("rwx")
	for i := range b {
		if perm&(4>>i) == 0 {
			b[i] = '-'
		}
	}
	return string(b)
}

// aclValue is the attribute of a text: entries split by commas or lines, comments
// after #, perhaps a number after the permissions as star and bsdtar write it. nil
// says no more than the mode does.
func aclValue(text string) ([]byte, error) {
	type entry struct {
		tag, perm uint16
		id        uint32
	}
	var entries []entry
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) == 2 { // mask:rwx and other:rwx, as some write them
			f = []string{f[0], "", f[1]}
		}
		if len(f) < 3 {
			return nil, fmt.Errorf("ACL entry %q", line)
		}
		e := entry{id: aclNobody}
		for _, t := range aclTags {
			if (f[0] == t.name || len(f[0]) == 1 && f[0][0] == t.name[0]) && t.who == (f[1] != "") {
				e.tag = t.tag
			}
		}
		var ok bool
		if e.perm, ok = permBits(f[2]); !ok || e.tag == 0 {
			return nil, fmt.Errorf("ACL entry %q", line)
		}
		if f[1] != "" {
			var err error
			if e.id, err = aclWho(f); err != nil {
				return nil, fmt.Errorf("ACL entry %q: %w", line, err)
			}
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	slices.SortFunc(entries, func(a, b entry) int { // the order that the kernel wants
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	out := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out, nil
}

// aclMode is the mode of an object with the access ACL value: a mask stands in the group's place.
func aclMode(value []byte) (mode uint32) {
	group := uint32(0)
	for e := value[aclHeader:]; len(e) >= aclEntry; e = e[aclEntry:] {
		perm := uint32(binary.LittleEndian.Uint16(e[2:]))
		switch binary.LittleEndian.Uint16(e) {
		case 0x01:
			mode |= perm << 6
		case 0x20:
			mode |= perm
		case 0x04, 0x10: // sorted: a mask comes later
			group = perm << 3
		}
	}
	return mode | group
}

func permBits(s string) (bits uint16, ok bool) {
	for _, c := range s {
		switch c {
		case 'r':
			bits |= 4
		case 'w':
			bits |= 2
		case 'x':
			bits |= 1
		case '-':
		default:
			return 0, false
		}
	}
	return bits, s != ""
}

// aclWho is the number of a named user or group: the one in the entry, else this system's.
func aclWho(f []string) (uint32, error) {
	number := f[1]
	if len(f) > 3 && f[3] != "" {
		number = f[3]
	}
	if id, err := strconv.ParseUint(number, 10, 32); err == nil {
		return uint32(id), nil
	}
	var id string
	if f[0][0] == 'u' {
		u, err := user.Lookup(f[1])
		if err != nil {
			return 0, err
		}
		id = u.Uid
	} else {
		g, err := user.LookupGroup(f[1])
		if err != nil {
			return 0, err
		}
		id = g.Gid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err
}
