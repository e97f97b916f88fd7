package transport

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring (io_uring(7)) with entries of 128 bytes for commands of a
// driver and for reads. One thread submits and waits.
type ring struct {
	fd     int
	mapped [2][]byte // the rings, the submission entries
	sqHead *uint32
	sqTail *uint32
	sqMask uint32
	cqHead *uint32
	cqTail *uint32
	cqMask uint32
	cqes   unsafe.Pointer
	sqes   unsafe.Pointer
	tail   uint32 // of what was prepared; *sqTail of what the kernel may see
}

// sqe is struct io_uring_sqe with IORING_SETUP_SQE128, as IORING_OP_URING_CMD, IORING_OP_POLL_ADD and IORING_OP_READ use it.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	cmdOp    uint64 // cmd_op and padding; of a read: its offset
	addr     uint64
	len      uint32
	opFlags  uint32 // of poll: the events; of a read: RWF_*
	userData uint64
	buf      uint16
	persona  uint16
	splice   int32
	cmd      [80]byte
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

const (
	opPollAdd  = 6  // IORING_OP_POLL_ADD
	opRingRead = 22 // IORING_OP_READ
	opUringCmd = 46 // IORING_OP_URING_CMD

	setupCQSize    = 1 << 3        // IORING_SETUP_CQSIZE
	setupSQE128    = 1 << 10       // IORING_SETUP_SQE128
	setupNoSQArray = 1 << 16       // IORING_SETUP_NO_SQARRAY (Linux 6.6)
	setupDisabled  = 1 << 6        // IORING_SETUP_R_DISABLED: until enable
	setupOneThread = 1<<12 | 1<<13 // IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN
	registerEnable = 12            // IORING_REGISTER_ENABLE_RINGS
	featSingleMmap = 1 << 0

	offSQRing = 0
	offSQEs   = 0x10000000

	enterGetEvents = 1 // IORING_ENTER_GETEVENTS
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqCPU, sqIdle, features, wqFd uint32
	_                                                          [3]uint32
	sq                                                         struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		userAddr                                            uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		userAddr                                            uint64
	}
}

// newRing makes a ring for n entries.
func newRing(n uint32) (*ring, error) {
	p := params{flags: setupCQSize | setupSQE128 | setupNoSQArray | setupOneThread | setupDisabled, cqEntries: 2 * n}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(n), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup(2): %w", errno)
	}
	r := &ring{fd: int(fd)}
	if p.features&featSingleMmap == 0 {
		return nil, errors.Join(errors.New("io_uring: the two rings aren't one mapping"), r.close())
	}
	var err error
	size := max(p.sq.array, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	if r.mapped[0], err = mapRing(r.fd, offSQRing, int(size)); err == nil {
		r.mapped[1], err = mapRing(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map io_uring: %w", err), r.close())
	}
	at := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.mapped[0][off])) }
	r.sqHead, r.sqTail, r.sqMask = at(p.sq.head), at(p.sq.tail), *at(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.mask)
	r.cqes, r.sqes = unsafe.Pointer(at(p.cq.cqes)), ptr(r.mapped[1])
	return r, nil
}

// enable makes the calling thread the one that submits and waits.
func (r *ring) enable() error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerEnable, 0, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("io_uring_register(2): %w", errno)
	}
	return nil
}

func mapRing(fd int, off int64, size int) ([]byte, error) {
	return unix.Mmap(fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
}

func (r *ring) close() error {
	for _, m := range r.mapped {
		if m != nil {
			_ = unix.Munmap(m) // can't fail for what mmap gave
		}
	}
	return unix.Close(r.fd)
}

// next gives an empty submission entry; there are as many as entries that may be under way.
func (r *ring) next() *sqe {
	e := (*sqe)(unsafe.Add(r.sqes, uintptr(r.tail&r.sqMask)*unsafe.Sizeof(sqe{})))
	*e = sqe{}
	r.tail++
	return e
}

// prepared counts what is to be submitted.
func (r *ring) prepared() uint32 { return r.tail - atomic.LoadUint32(r.sqHead) }

// submit submits what was prepared.
func (r *ring) submit() error { return r.enter(0, 0) }

// poll submits what was prepared and lets the kernel tell of what is complete, without waiting.
func (r *ring) poll() error { return r.enter(0, enterGetEvents) }

// wait submits what was prepared and waits for a completion. There may be none when it returns: a signal came.
func (r *ring) wait() error { return r.enter(1, enterGetEvents) }

func (r *ring) enter(want, flags uintptr) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	for {
		var errno unix.Errno
		n := r.prepared()
		if want == 0 { // returns at once: no word to the scheduler needed
			_, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, flags, 0, 0)
		} else {
			_, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), want, flags, 0, 0)
		}
		switch errno {
		case 0:
			if r.prepared() == 0 {
				return nil
			}
		case unix.EINTR, unix.EAGAIN, unix.EBUSY: // a signal, no memory, completions to be taken first
			return nil
		default:
			return fmt.Errorf("io_uring_enter(2): %w", errno)
		}
	}
}

// completed takes the next completion, if there is one.
func (r *ring) completed() (c cqe, ok bool) {
	head := *r.cqHead
	if head == atomic.LoadUint32(r.cqTail) {
		return c, false
	}
	c = *(*cqe)(unsafe.Add(r.cqes, uintptr(head&r.cqMask)*unsafe.Sizeof(cqe{})))
	atomic.StoreUint32(r.cqHead, head+1)
	return c, true
}

// pending tells whether completed has more.
func (r *ring) pending() bool { return *r.cqHead != atomic.LoadUint32(r.cqTail) }
