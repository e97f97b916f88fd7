package sys

import (
	"strings"

	"golang.org/x/sys/unix"
)

// The l-forms act on the last component itself; every path begins at a
// descriptor, so that only the one name is resolved by the kernel.

// GetXattrAt reads an extended attribute of name in dir. ENODATA: there is none.
func GetXattrAt(dir int, name, attr string) ([]byte, error) {
	return getXattr(func(buf []byte) (int, error) {
		return unix.Lgetxattr(procChild(dir, name), attr, buf)
	})
}

// The Fd forms work on anything but a symbolic link (ELOOP: the kernel would
// follow it); for that there are the At forms.

// SetXattrAt sets an extended attribute of name in dir.
func SetXattrAt(dir int, name, attr string, value []byte, flags int) error {
	return retry(func() error { return unix.Lsetxattr(procChild(dir, name), attr, value, flags) })
}

// RemoveXattrAt removes an extended attribute of name in dir.
func RemoveXattrAt(dir int, name, attr string) error {
	return retry(func() error { return unix.Lremovexattr(procChild(dir, name), attr) })
}

// GetXattrFd reads an extended attribute of the object behind fd, O_PATH included.
func GetXattrFd(fd int, attr string) ([]byte, error) {
	return getXattr(func(buf []byte) (int, error) {
		return unix.Getxattr(ProcPath(fd), attr, buf)
	})
}

func getXattr(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	buf := small[:]
	for {
		n, err := read(buf)
		switch err {
		case nil:
			return append([]byte(nil), buf[:n]...), nil
		case unix.EINTR:
		case unix.ERANGE:
			if len(buf) >= 1<<16 {
				return nil, err
			}
			buf = make([]byte, 1<<16)
		default:
			return nil, err
		}
	}
}

// SetXattrFd sets an extended attribute of the object behind fd, O_PATH included.
func SetXattrFd(fd int, attr string, value []byte, flags int) error {
	return retry(func() error { return unix.Setxattr(ProcPath(fd), attr, value, flags) })
}

// RemoveXattrFd removes an extended attribute of the object behind fd, O_PATH included.
func RemoveXattrFd(fd int, attr string) error {
	return retry(func() error { return unix.Removexattr(ProcPath(fd), attr) })
}

// ListXattrFd lists the extended attributes of the object behind fd, O_PATH included.
func ListXattrFd(fd int) ([]string, error) {
	raw, err := getXattr(func(buf []byte) (int, error) { return unix.Listxattr(ProcPath(fd), buf) })
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), nil
}

// ListXattrAt lists the extended attributes of name in dir.
func ListXattrAt(dir int, name string) ([]string, error) {
	raw, err := getXattr(func(buf []byte) (int, error) { return unix.Llistxattr(procChild(dir, name), buf) })
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), nil
}

// Attributed is an object whose attributes are meant: by a descriptor of its own
// or, for a symbolic link, by its name in a directory. It is valid as long as the descriptor.
type Attributed struct {
	fd   int
	name string
}

// ByFd means the object behind fd, which is no symbolic link.
func ByFd(fd int) Attributed { return Attributed{fd, ""} }

// ByName means name in dir, whatever it is.
func ByName(dir int, name string) Attributed { return Attributed{dir, name} }

// Get reads an attribute.
func (a Attributed) Get(attr string) ([]byte, error) {
	if a.name == "" {
		return GetXattrFd(a.fd, attr)
	}
	return GetXattrAt(a.fd, a.name, attr)
}

// Set sets an attribute.
func (a Attributed) Set(attr string, value []byte, flags int) error {
	if a.name == "" {
		return SetXattrFd(a.fd, attr, value, flags)
	}
	return SetXattrAt(a.fd, a.name, attr, value, flags)
}

// List lists the attributes.
func (a Attributed) List() ([]string, error) {
	if a.name == "" {
		return ListXattrFd(a.fd)
	}
	return ListXattrAt(a.fd, a.name)
}

// Remove removes an attribute.
func (a Attributed) Remove(attr string) error {
	if a.name == "" {
		return RemoveXattrFd(a.fd, attr)
	}
	return RemoveXattrAt(a.fd, a.name, attr)
}
