package sys

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// The l-forms act on the last component itself; every path begins at a
// descriptor, so that only the one name is resolved by the kernel.

// GetXattrAt reads an extended attribute of name in dir, "" of dir itself. ENODATA: there is none.
func GetXattrAt(dir int, name, attr string) ([]byte, error) {
	if name == "" {
		return GetXattrFd(dir, attr)
	}
	return getXattr(func(buf []byte) (int, error) {
		return getXattrAt(dir, name, attr, buf)
	})
}

// GetXattrFd reads an extended attribute of the object behind fd, O_PATH included.
func GetXattrFd(fd int, attr string) ([]byte, error) {
	return getXattr(func(buf []byte) (int, error) {
		n, err := unix.Fgetxattr(fd, attr, buf)
		if err == unix.EBADF { // opened with O_PATH
			n, err = unix.Getxattr(ProcPath(fd), attr, buf)
		}
		return n, err
	})
}

// MayHaveXattr tells whether the open file fd may have an extended attribute whose name ends with suffix. No is certain.
func MayHaveXattr(fd int, suffix string) bool {
	var names [256]byte
	n, err := unix.Flistxattr(fd, names[:])
	return err != nil && err != unix.ENOTSUP || err == nil && bytes.Contains(names[:n], []byte(suffix+"\x00"))
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
	return retry(func() error {
		err := unix.Fsetxattr(fd, attr, value, flags)
		if err == unix.EBADF { // opened with O_PATH
			err = unix.Setxattr(ProcPath(fd), attr, value, flags)
		}
		return err
	})
}

// RemoveXattrFd removes an extended attribute of the object behind fd, O_PATH included.
func RemoveXattrFd(fd int, attr string) error {
	return retry(func() error {
		err := unix.Fremovexattr(fd, attr)
		if err == unix.EBADF { // opened with O_PATH
			err = unix.Removexattr(ProcPath(fd), attr)
		}
		return err
	})
}

// ListXattrFd lists the extended attributes of the object behind fd, O_PATH included.
func ListXattrFd(fd int) ([]string, error) {
	raw, err := getXattr(func(buf []byte) (int, error) {
		n, err := unix.Flistxattr(fd, buf)
		if err == unix.EBADF { // opened with O_PATH
			n, err = unix.Listxattr(ProcPath(fd), buf)
		}
		return n, err
	})
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), nil
}

// ListXattrAt lists the extended attributes of name in dir, "" of dir itself.
func ListXattrAt(dir int, name string) ([]string, error) {
	if name == "" {
		return ListXattrFd(dir)
	}
	raw, err := getXattr(func(buf []byte) (int, error) { return listXattrAt(dir, name, buf) })
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), nil
}
