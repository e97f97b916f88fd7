package sys

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Made is a directory or an empty file that MakeInto made. It holds a descriptor
// until Keep or Undo.
type Made struct {
	dir  int
	name string
	kind uint32
}

// MakeInto makes target, a directory or a regular file as kind says (S_IFDIR,
// S_IFREG), and the directories that are missing above it, below root as if root
// were "/". It returns what it made, also with an error.
func MakeInto(root int, target string, kind uint32) (made []Made, err error) {
	parts := strings.Split(strings.Trim(target, "/"), "/")
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for i, name := range parts {
		m := Made{name: name, kind: unix.S_IFDIR}
		if m.dir, err = unix.Openat2(root, "/"+strings.Join(parts[:i], "/"), &how); err != nil {
			return made, err
		}
		if i == len(parts)-1 {
			m.kind = kind
		}
		if m.kind == unix.S_IFDIR {
			err = MkdirAt(m.dir, name, 0o755)
		} else {
			err = MknodAt(m.dir, name, kind|0o644, 0)
		}
		switch err {
		case nil:
			made = append(made, m)
		case unix.EEXIST:
			m.Keep()
		default:
			m.Keep()
			return made, err
		}
	}
	return made, nil
}

// Keep leaves it there.
func (m Made) Keep() { _ = Close(m.dir) }

// Undo removes it, also from a mount that is detached by now; not if somebody put something in.
func (m Made) Undo() error {
	defer Close(m.dir)
	var err error
	if m.kind == unix.S_IFDIR {
		err = RmdirAt(m.dir, m.name)
	} else if st, e := StatAt(m.dir, m.name); e != nil || st.Size == 0 {
		err = UnlinkAt(m.dir, m.name)
	}
	if err == unix.ENOENT || err == unix.ENOTEMPTY {
		return nil
	}
	return err
}
