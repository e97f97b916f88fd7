package sys

import "golang.org/x/sys/unix"

// Flock is flock(2) with LOCK_NB: EWOULDBLOCK while another description holds it.
func Flock(fd int, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	return retry(func() error { return unix.Flock(fd, how|unix.LOCK_NB) })
}

// RangeLock is a byte-range lock; End is the last byte, inclusive, or MaxInt64 for "to the end".
type RangeLock struct {
	Type       int16 // F_RDLCK, F_WRLCK, F_UNLCK
	Start, End uint64
	Pid        uint32
}

// Types of a RangeLock.
const (
	F_RDLCK = unix.F_RDLCK
	F_WRLCK = unix.F_WRLCK
	F_UNLCK = unix.F_UNLCK
)

const maxOffset = 1<<63 - 1

func (l RangeLock) flock() unix.Flock_t {
	fl := unix.Flock_t{Type: l.Type, Start: int64(l.Start)}
	if l.End < maxOffset {
		fl.Len = int64(l.End - l.Start + 1)
	}
	return fl
}

// SetRangeLock sets or clears an open-file-description lock without waiting: EAGAIN (or EACCES) if another holds it.
func SetRangeLock(fd int, l RangeLock) error {
	fl := l.flock()
	return retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &fl) })
}

// GetRangeLock returns the first lock that stands in the way of l, or one of type F_UNLCK.
func GetRangeLock(fd int, l RangeLock) (RangeLock, error) {
	fl := l.flock()
	if err := retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &fl) }); err != nil {
		return RangeLock{}, err
	}
	got := RangeLock{Type: fl.Type, Start: uint64(fl.Start), End: maxOffset}
	if fl.Len > 0 {
		got.End = uint64(fl.Start + fl.Len - 1)
	}
	if fl.Pid > 0 {
		got.Pid = uint32(fl.Pid)
	}
	return got, nil
}
