package op

import (
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// doXattr reads and changes extended attributes. By path they do not follow a symlink unless Flags of a read say so.
func (s *Side) doXattr(o Op) (Result, bool) {
	path := s.at(o.Path)
	switch o.Kind {
	case Setxattr:
		return failed(unix.Lsetxattr(path, o.Name, []byte(o.Data), o.Flags)), true
	case Getxattr:
		return readXattr(o, func(buf []byte) (int, error) { return unix.Lgetxattr(path, o.Name, buf) }), true
	case Removexattr:
		return failed(unix.Lremovexattr(path, o.Name)), true
	case Listxattr:
		return listXattr(path), true
	case Fsetxattr, Fgetxattr:
		f := &s.files[o.Slot]
		if !f.open {
			return noFile(), true
		}
		if o.Kind == Fsetxattr {
			return failed(unix.Fsetxattr(f.fd, o.Name, []byte(o.Data), o.Flags)), true
		}
		return readXattr(o, func(buf []byte) (int, error) { return unix.Fgetxattr(f.fd, o.Name, buf) }), true
	}
	return Result{}, false
}

// readXattr reads into Len bytes; none asks for the size.
func readXattr(o Op, get func([]byte) (int, error)) Result {
	buf := make([]byte, o.Len)
	n, err := get(buf)
	return answered(err, "n=%d %q", n, buf[:min(max(n, 0), len(buf))])
}

func listXattr(path string) Result {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return failed(err)
	}
	names := strings.Split(string(buf[:n]), "\x00")
	sort.Strings(names)
	return answered(nil, "%q", names)
}
