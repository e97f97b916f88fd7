package exercise

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// once does one random step to the file and to the image.
func (e *exerciser) once() error {
	steps := []func(off, n int64) error{
		e.write, e.write, e.write, e.append, e.mapWrite, e.mapWrite, e.truncate, e.truncate,
		e.punch, e.zero, e.copyRange, e.fsync, e.again, e.truncateByOpen,
	}
	off := e.rng.Int63n(e.cfg.MaxSize)
	n := 1 + e.rng.Int63n(min(e.cfg.MaxSize-off, 32<<10))
	if e.rng.Intn(4) == 0 {
		off = off &^ 4095 // whole pages go other ways than parts of them
		n = min((n|4095)+1, e.cfg.MaxSize-off)
	}
	return steps[e.rng.Intn(len(steps))](off, n)
}

// fd is the descriptor to change, or -1 when the step is to be lost.
func (e *exerciser) fd() int {
	if e.cfg.drop(e.step) {
		return -1
	}
	return int(e.file.Fd())
}

// grow makes the image at least n long.
func (e *exerciser) grow(n int64) {
	if missing := n - int64(len(e.image)); missing > 0 {
		e.image = append(e.image, make([]byte, missing)...)
	}
}

func (e *exerciser) data(n int64) []byte {
	buf := make([]byte, n)
	e.rng.Read(buf)
	return buf
}

func (e *exerciser) write(off, n int64) error {
	e.note("write [%d,%d)", off, off+n)
	data := e.data(n)
	e.grow(off + n)
	copy(e.image[off:], data)
	if fd := e.fd(); fd >= 0 {
		return whole(unix.Pwrite(fd, data, off))(n)
	}
	return nil
}

// whole makes an error of a short write.
func whole(done int, err error) func(int64) error {
	return func(n int64) error {
		if err == nil && int64(done) != n {
			err = fmt.Errorf("%d of %d bytes", done, n)
		}
		return err
	}
}

// append opens the file with O_APPEND, as another process would.
func (e *exerciser) append(_, n int64) error {
	if n = min(n, e.cfg.MaxSize-int64(len(e.image))); n <= 0 {
		return nil
	}
	e.note("append %d", n)
	data := e.data(n)
	e.image = append(e.image, data...)
	if e.fd() < 0 {
		return nil
	}
	f, err := os.OpenFile(e.cfg.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (e *exerciser) truncate(off, _ int64) error {
	e.note("truncate to %d from %d", off, len(e.image))
	e.resize(off)
	fd := e.fd()
	switch {
	case fd < 0:
		return nil
	case e.rng.Intn(2) == 0:
		return unix.Truncate(e.cfg.Path, off)
	default:
		return unix.Ftruncate(fd, off)
	}
}

func (e *exerciser) resize(n int64) {
	if n < int64(len(e.image)) {
		e.image = e.image[:n:n] // what grows there again is zero
	}
	e.grow(n)
}

// truncateByOpen empties the file, rarely: there is little to test in an empty one.
func (e *exerciser) truncateByOpen(_, _ int64) error {
	if e.rng.Intn(8) != 0 {
		return nil
	}
	e.note("open with O_TRUNC")
	e.resize(0)
	if e.fd() < 0 {
		return nil
	}
	f, err := os.OpenFile(e.cfg.Path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func (e *exerciser) mapWrite(off, n int64) error {
	if n = min(n, int64(len(e.image))-off); n <= 0 {
		return nil
	}
	e.note("mmap write [%d,%d)", off, off+n)
	data := e.data(n)
	copy(e.image[off:], data)
	fd := e.fd()
	if fd < 0 {
		return nil
	}
	start := off &^ 4095
	m, err := unix.Mmap(fd, start, int(off+n-start), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if suite.Faults(func() { copy(m[off-start:], data) }) { // behind the end of a file that is not the one it should be
		return errors.New("store through a mapping: SIGBUS")
	}
	if e.rng.Intn(3) == 0 { // else the pages are written when the kernel likes
		if err := unix.Msync(m, unix.MS_SYNC); err != nil {
			return err
		}
	}
	return unix.Munmap(m)
}

func (e *exerciser) punch(off, n int64) error {
	return e.fallocate("punch", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (e *exerciser) zero(off, n int64) error {
	return e.fallocate("zero", unix.FALLOC_FL_ZERO_RANGE, off, n)
}

// fallocate makes a range read as zeros. What the filesystem can't do changes nothing.
func (e *exerciser) fallocate(what string, mode uint32, off, n int64) error {
	e.note("%s [%d,%d)", what, off, off+n)
	if fd := e.fd(); fd >= 0 {
		err := unix.Fallocate(fd, mode, off, n)
		if err == unix.EOPNOTSUPP {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		e.grow(off + n)
	}
	if size := int64(len(e.image)); off < size {
		clear(e.image[off:min(off+n, size)])
	}
	return nil
}

// copyRange copies inside of the file, to where it does not overlap.
func (e *exerciser) copyRange(off, n int64) error {
	if n = min(n, int64(len(e.image))-off); n <= 0 {
		return nil
	}
	to := e.rng.Int63n(e.cfg.MaxSize - n + 1)
	if to < off+n && off < to+n {
		return nil
	}
	e.note("copy [%d,%d) to %d", off, off+n, to)
	e.grow(to + n)
	copy(e.image[to:], e.image[off:off+n])
	fd := e.fd()
	for in, out, left := off, to, n; fd >= 0 && left > 0; {
		done, err := unix.CopyFileRange(fd, &in, fd, &out, int(left), 0)
		if err != nil {
			return err
		}
		if done == 0 {
			return fmt.Errorf("copy_file_range: nothing copied, %d left", left)
		}
		left -= int64(done)
	}
	return nil
}

func (e *exerciser) fsync(_, _ int64) error {
	if e.rng.Intn(4) != 0 {
		return nil
	}
	e.note("fsync")
	return e.file.Sync()
}

func (e *exerciser) again(_, _ int64) error {
	e.note("reopen")
	return e.reopen()
}
