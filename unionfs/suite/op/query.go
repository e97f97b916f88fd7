package op

import "golang.org/x/sys/unix"

// doQuery looks, without changing anything.
func (s *Side) doQuery(o Op) (Result, bool) {
	switch o.Kind {
	case Stat, Lstat:
		return s.stat(o), true
	case Fstat:
		f := &s.files[o.Slot]
		if !f.open {
			return noFile(), true
		}
		r := Result{}
		s.addFstat(f.fd, "fstat", &r)
		return r, true
	case Access:
		return failed(unix.Faccessat(unix.AT_FDCWD, s.at(o.Path), o.Mode, 0)), true
	case List:
		fd, err := unix.Open(s.at(o.Path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return failed(err), true
		}
		defer unix.Close(fd)
		return s.list(fd, int(o.Len)), true
	case Flist:
		f := &s.files[o.Slot]
		if !f.open {
			return noFile(), true
		}
		if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
			return failed(err), true
		}
		return s.list(f.fd, int(o.Len)), true
	}
	return Result{}, false
}

func (s *Side) stat(o Op) Result {
	call := unix.Stat
	if o.Kind == Lstat {
		call = unix.Lstat
	}
	var st unix.Stat_t
	path := s.at(o.Path)
	if err := call(path, &st); err != nil {
		return failed(err)
	}
	r := Result{Out: s.line(&st)}
	if o.Kind == Lstat {
		r.Seen = []Seen{s.seen(o.Path, unix.AT_FDCWD, path, &st)}
	}
	return r
}
