package op

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// doAttr changes modes, owners and times, by path or by open file, and the worker's umask.
func (s *Side) doAttr(o Op) (Result, bool) {
	path := s.at(o.Path)
	switch o.Kind {
	case Chmod:
		return failed(unix.Chmod(path, o.Mode)), true
	case Chown:
		return failed(unix.Chown(path, o.UID, o.GID)), true
	case Lchown:
		return failed(unix.Lchown(path, o.UID, o.GID)), true
	case Utimens:
		return failed(unix.UtimesNanoAt(unix.AT_FDCWD, path, o.times(), o.Flags)), true
	case Umask:
		unix.Umask(int(o.Mode)) // no answer: both sides run in one process
		return Result{}, true
	case Fchmod, Fchown, Futimens:
		if !s.files[o.Slot].open {
			return noFile(), true
		}
		return s.doAttrOpen(s.files[o.Slot].fd, o), true
	}
	return Result{}, false
}

func (s *Side) doAttrOpen(fd int, o Op) Result {
	switch o.Kind {
	case Fchmod:
		return failed(unix.Fchmod(fd, o.Mode))
	case Fchown:
		return failed(unix.Fchown(fd, o.UID, o.GID))
	}
	// The wrapper in x/sys can't pass utimensat(2) the null path that futimens(3) is.
	ts := o.times()
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	return Result{Errno: e}
}

func (o Op) times() []unix.Timespec {
	return []unix.Timespec{{Sec: o.Times[0].Sec, Nsec: o.Times[0].Nsec}, {Sec: o.Times[1].Sec, Nsec: o.Times[1].Nsec}}
}
