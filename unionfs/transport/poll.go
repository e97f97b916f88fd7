package transport

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a read of the device gave.
type got int

const (
	gotNothing got = iota
	gotRequest
	gotEnd
)

// read reads what is there, without waiting if fd doesn't.
func (r *reader) read(fd int) got {
	for {
		var n uintptr
		var errno unix.Errno
		if fd == r.d.poll { // returns at once: no word to the scheduler needed
			n, _, errno = unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.in[0])), uintptr(len(r.in)))
		} else {
			n, _, errno = unix.Syscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.in[0])), uintptr(len(r.in)))
		}
		switch errno {
		case 0:
		case unix.EAGAIN:
			return gotNothing
		case unix.EINTR, unix.ENOENT: // ENOENT: interrupted before it was read
			continue
		default:
			if errno != unix.ENODEV {
				r.d.s.cfg.Fault("read a request", errno)
			}
			r.d.s.gone()
			return gotEnd
		}
		if n < inHeaderSize {
			continue
		}
		r.fd = fd
		r.request.in = r.in[:n]
		r.request.head = header(r.in)
		return gotRequest
	}
}

// write writes an answer. A small one is copied too fast to tell the scheduler.
func write(fd int, b []byte) unix.Errno {
	var errno unix.Errno
	if len(b) <= bigData {
		_, _, errno = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	} else {
		_, _, errno = unix.Syscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	}
	return errno
}

// wait waits for a request: it polls for a while if that has paid, then sleeps.
func (r *reader) wait() got {
	d := r.d
	if d.spin && d.working.Load() == 0 && d.pace.worth() {
		start, last := now(), now()
		for {
			if got := r.read(d.poll); got != gotNothing {
				d.pace.hit()
				return got
			}
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			t := now()
			if t-last > wanted { // others ran on this processor
				d.pace.miss(true)
				break
			}
			if t-start > patience {
				d.pace.miss(false)
				break
			}
			last = t
		}
	}
	return r.read(d.s.fd)
}

const (
	// patience is how long to poll before sleeping: more than a client thinks
	// between two calls, and twice what being woken would cost it.
	patience = 50 * time.Microsecond
	// wanted: a poll that took so long was not alone on its processor.
	wanted = 20 * time.Microsecond
)

// pace decides whether to poll. Only who waits uses it.
type pace struct {
	hits int // in a row
	hold int // after a miss: requests to sleep for before polling is tried again
	left int // of hold
}

const (
	goodRun = 8   // hits in a row that make up for a miss
	maxHold = 256 // requests
)

// worth tells whether to poll for the next request.
func (p *pace) worth() bool {
	if p.left > 0 {
		p.left--
		return false
	}
	return true
}

func (p *pace) hit() {
	if p.hits++; p.hits >= goodRun {
		p.hold = 0
	}
}

// miss makes polling rarer; much rarer if the processor was wanted by others.
func (p *pace) miss(contended bool) {
	if p.hits < goodRun {
		p.hold = min(2*p.hold+1, maxHold)
	}
	if contended {
		p.hold = max(p.hold, goodRun)
	}
	p.hits, p.left = 0, p.hold
}

var epoch = time.Now()

// now is a monotonic time.
func now() time.Duration { return time.Since(epoch) }
