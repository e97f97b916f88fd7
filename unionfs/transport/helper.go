package transport

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helper is a second thread of a queue, on the same processor, for one request at
// a time that may take long: no other processor has to be woken for it. It waits in the
// kernel, so that Go's scheduler isn't needed to wake it either. Who finds it busy takes a goroutine.
type helper struct {
	q      *queue
	wakeup int // eventfd
	idle   atomic.Bool
	next   atomic.Pointer[entry] // handed over; nil: the end
}

func newHelper(q *queue) (*helper, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	return &helper{q: q, wakeup: fd}, err
}

func (h *helper) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with its pinning
	h.q.pin()
	var count [8]byte
	for {
		h.idle.Store(true)
		for {
			if _, err := unix.Read(h.wakeup, count[:]); err != unix.EINTR {
				break
			}
		}
		e := h.next.Load()
		if e == nil {
			_ = unix.Close(h.wakeup)
			return
		}
		e.elsewhere()
	}
}

// take hands e over if the helper has nothing to do.
func (h *helper) take(e *entry) bool {
	if !h.idle.CompareAndSwap(true, false) {
		return false
	}
	h.next.Store(e)
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(h.wakeup), uintptr(unsafe.Pointer(&one)), 8) // the counter is 0: it can't fail
	return true
}

// end lets the thread end, once it has nothing to do.
func (h *helper) end() {
	for !h.take(nil) {
		runtime.Gosched() // about to be idle: every entry is answered
	}
}
