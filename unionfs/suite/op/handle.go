package op

import (
	"fmt"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// noFile answers an operation on an empty slot, on both sides.
func noFile() Result { return Result{Errno: unix.EBADF, Out: "empty slot"} }

func (s *Side) doHandle(o Op) (Result, bool) {
	switch o.Kind {
	case Open:
		return s.open(o, o.Flags), true
	case Tmpfile:
		return s.open(o, o.Flags|unix.O_TMPFILE), true
	case Close:
		if !s.files[o.Slot].open {
			return noFile(), true
		}
		return failed(s.files[o.Slot].close()), true
	case CloseAll:
		return s.closeAll(), true
	case CheckHandles:
		return s.checkHandles(), true
	}
	return Result{}, false
}

// open puts a regular file or directory into the slot; what else it opened is closed again. O_NONBLOCK keeps
// fifos from waiting for a peer.
func (s *Side) open(o Op, flags int) Result {
	f := &s.files[o.Slot]
	if f.open {
		if err := f.close(); err != nil {
			return answered(nil, "close before open: %v", err)
		}
	}
	fd, err := unix.Open(s.at(o.Path), flags|unix.O_NONBLOCK|unix.O_CLOEXEC, o.Mode)
	if err != nil {
		return failed(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return failed(err)
	}
	r := Result{Out: s.line(&st), Seen: []Seen{s.seen("opened", fd, "", &st)}}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFDIR {
		unix.Close(fd)
		return r
	}
	*f = file{open: true, fd: fd, kind: kind}
	return r
}

func (f *file) close() error {
	if f.mapping != nil {
		if err := unix.Munmap(f.mapping); err != nil {
			return err
		}
	}
	fd := f.fd
	*f = file{}
	return unix.Close(fd)
}

func (s *Side) closeAll() Result {
	r := Result{}
	for i := range s.files {
		if f := &s.files[i]; f.open {
			if err := f.close(); err != nil {
				r.Out += fmt.Sprintf(" slot %d: %v", i, err)
			}
		}
	}
	return r
}

// checkHandles describes every open file, its content included where it may be read.
func (s *Side) checkHandles() Result {
	r := Result{}
	for i := range s.files {
		f := &s.files[i]
		if !f.open {
			continue
		}
		s.addFstat(f.fd, fmt.Sprintf("slot %d", i), &r)
		if f.kind == unix.S_IFREG {
			data, err := f.whole()
			r.Out += fmt.Sprintf(" content=%08x %v", crc32.Checksum(data, castagnoli()), err)
		}
	}
	return r
}

// whole reads the file from its beginning to its end.
func (f *file) whole() ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return nil, err
	}
	buf := make([]byte, st.Size)
	got := 0
	for got < len(buf) {
		n, err := unix.Pread(f.fd, buf[got:], int64(got))
		if err != nil || n == 0 {
			return buf[:got], err
		}
		got += n
	}
	return buf, nil
}

// castagnoli is the polynomial with an instruction of its own; crc32 keeps its tables.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
