package op

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// doName makes, moves and removes names.
func (s *Side) doName(o Op) (Result, bool) {
	path, path2 := s.at(o.Path), s.at(o.Path2)
	switch o.Kind {
	case Unlink:
		return failed(unix.Unlink(path)), true
	case Mkdir:
		return failed(unix.Mkdir(path, o.Mode)), true
	case Rmdir:
		return failed(unix.Rmdir(path)), true
	case Mknod:
		return failed(unix.Mknod(path, o.Mode, int(o.Dev))), true
	case Symlink:
		return failed(unix.Symlink(o.Data, path)), true
	case Readlink:
		buf := make([]byte, 4096)
		n, err := unix.Readlink(path, buf)
		return answered(err, "%q", buf[:max(n, 0)]), true
	case Link:
		return failed(unix.Linkat(unix.AT_FDCWD, path, unix.AT_FDCWD, path2, o.Flags)), true
	case Rename:
		return failed(unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path2, uint(o.Flags))), true
	case Truncate:
		return failed(s.truncate(path, o.Len)), true
	case Flink:
		return s.flink(o), true
	}
	return Result{}, false
}

func (s *Side) truncate(path string, size int64) error {
	var before unix.Stat_t
	found := unix.Stat(path, &before)
	err := unix.Truncate(path, size)
	if err != nil || found != nil || before.Size != size || !s.held || !s.plain {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, before.Mtim}, 0)
}

// flink gives an open file a name by the way that needs no capability.
func (s *Side) flink(o Op) Result {
	f := &s.files[o.Slot]
	if !f.open {
		return noFile()
	}
	from := fmt.Sprintf("/proc/self/fd/%d", f.fd)
	return failed(unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, s.at(o.Path), unix.AT_SYMLINK_FOLLOW))
}
