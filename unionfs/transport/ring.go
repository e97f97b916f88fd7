package transport

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring (io_uring(7)) with entries of 128 bytes for commands of a
// driver. One thread submits and waits.
type ring struct {
	fd     int
	mapped [2][]byte // the rings, the submission entries
	sqTail *uint32
	sqMask uint32
	cqHead *uint32
	cqTail *uint32
	cqMask uint32
	cqes   unsafe.Pointer
	sqes   unsafe.Pointer
	queued uint32 // prepared and not yet submitted
}

// sqe is struct io_uring_sqe with IORING_SETUP_SQE128, as IORING_OP_URING_CMD and IORING_OP_POLL_ADD use it.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	cmdOp    uint64 // cmd_op and padding
	addr     uint64
	len      uint32
	opFlags  uint32 // of poll: the events
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
	r.sqTail, r.sqMask = at(p.sq.tail), *at(p.sq.mask)
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
	tail := *r.sqTail + r.queued
	e := (*sqe)(unsafe.Add(r.sqes, uintptr(tail&r.sqMask)*unsafe.Sizeof(sqe{})))
	*e = sqe{}
	r.queued++
	return e
}

// enter submits what was prepared and waits until wait completions are there.
func (r *ring) enter(wait uint32) error {
	atomic.StoreUint32(r.sqTail, *r.sqTail+r.queued)
	n := r.queued
	r.queued = 0
	for {
		var done uintptr
		var errno unix.Errno
		if wait == 0 {
			done, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, 0, 0, 0)
		} else {
			done, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), uintptr(wait), enterGetEvents, 0, 0)
		}
		switch {
		case errno == unix.EINTR:
			return nil // what was submitted was
		case errno != 0:
			return fmt.Errorf("io_uring_enter(2): %w", errno)
		}
		if n -= min(n, uint32(done)); n == 0 {
			return nil
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

// newRings makes one ring for every processor that there may ever be: the kernel
// uses none before all are registered.
func newRings() ([]*ring, error) {
	n, err := possibleCPUs()
	if err != nil {
		return nil, err
	}
	var rings []*ring
	for range n {
		r, err := newRing(queueDepth + 1)
		if err != nil {
			closeRings(rings)
			return nil, err
		}
		rings = append(rings, r)
	}
	return rings, nil
}

func closeRings(rings []*ring) {
	for _, r := range rings {
		_ = r.close() // never used
	}
}

// possibleCPUs counts as the kernel's num_possible_cpus().
func possibleCPUs() (int, error) {
	const path = "/sys/devices/system/cpu/possible"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(to)
		}
		if err != nil || b < a {
			return 0, fmt.Errorf("%s: %q", path, text)
		}
		n += b - a + 1
	}
	return n, nil
}
