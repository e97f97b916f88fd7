package transport

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// device reads requests from /dev/fuse. One reader at a time waits for them; who
// has taken one answers it and comes back. Others are woken when a request takes
// long: because its kind says so, because more were found waiting after it again
// and again, or because watch saw nobody wait for a while. So a lone client is
// served by one thread that never wakes another.
type device struct {
	s    *Server
	poll int  // the connection again, not blocking; -1: can't be had
	spin bool // polling may pay: there is a processor for the client besides

	waiting atomic.Bool   // somebody waits for requests
	taken   atomic.Uint64 // requests
	working atomic.Int32  // readers that answer one
	readers atomic.Int32  // all of them, also idle ones
	idle    chan struct{} // wakes one
	resting atomic.Int32  // idle ones

	crowded atomic.Int32  // so many fsyncs more call for help at once
	watched atomic.Bool   // watch looks at waiting and taken
	alarm   chan struct{} // wakes watch
	over    chan struct{} // closed when the mount is gone

	pace pace // of whoever waits
}

const (
	maxReaders = 128 // beyond these requests wait for one that ends
	maxResting = 4   // idle readers that are kept

	// busy is for how long a reader may find request after request before it calls another.
	busy = 30 * time.Microsecond
	// tick is how long a request may keep others waiting that nobody expected to.
	tick    = 500 * time.Microsecond
	maxTick = 16 * time.Millisecond
	// together is for how long a ring's FORGETs are left to gather: they are all that
	// comes by the device then, and each would wake a processor.
	together = 2 * time.Millisecond
	// fsyncsCrowded is for how many fsyncs one that held others up, or took longer than a tick, is remembered.
	fsyncsCrowded = 64
	// keepWide is for how long an idle reader keeps the memory of big requests.
	keepWide = 5 * time.Second
)

func newDevice(s *Server) *device {
	poll := clone(s.fd)
	return &device{s: s, poll: poll, spin: poll >= 0 && runtime.NumCPU() > 1, idle: make(chan struct{}), alarm: make(chan struct{}, 1), over: make(chan struct{})}
}

// clone opens the connection a second time, for reads that don't wait.
func clone(fd int) int {
	c, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	if err := unix.IoctlSetPointerInt(c, iocClone, fd); err != nil {
		_ = unix.Close(c)
		return -1
	}
	return c
}

func (d *device) start() {
	d.spawn()
	d.s.serving.Go(d.watch)
}

// stop lets every reader end: the kernel answers ENODEV to those that wait.
func (d *device) stop() { close(d.over) }

func (d *device) close() {
	if d.poll >= 0 {
		_ = unix.Close(d.poll)
	}
}

// spawn adds a reader if there may be one more.
func (d *device) spawn() {
	if d.readers.Add(1) > maxReaders {
		d.readers.Add(-1)
		return
	}
	d.s.serving.Go(func() {
		defer d.readers.Add(-1)
		r, err := newReader(d)
		if err != nil {
			d.s.cfg.Fault("room for one more reader", err)
			return
		}
		defer r.free()
		for r.take() {
			r.serve()
		}
	})
}

// help lets one more reader work.
func (d *device) help() {
	select {
	case d.idle <- struct{}{}:
	default:
		d.spawn()
	}
}

// rest waits until help is called; false: there are enough idle readers, or the
// mount is gone. late is called once if that takes long; nil: it isn't.
func (d *device) rest(late func()) bool {
	if d.resting.Add(1) > maxResting {
		d.resting.Add(-1)
		return false
	}
	defer d.resting.Add(-1)
	var long <-chan time.Time
	if late != nil {
		timer := time.NewTimer(keepWide)
		defer timer.Stop()
		long = timer.C
	}
	for {
		select {
		case <-d.idle:
			return true
		case <-d.over:
			return false
		case <-long:
			late()
		}
	}
}

// await makes the caller the one who waits.
func (d *device) await() bool { return d.waiting.CompareAndSwap(false, true) }

// took ends await: nobody waits now, so somebody must watch.
func (d *device) took() {
	d.waiting.Store(false)
	if !d.watched.Load() && d.watched.CompareAndSwap(false, true) {
		select {
		case d.alarm <- struct{}{}:
		default:
		}
	}
}

// watch calls a reader when all that work are held up. It sleeps while somebody waits.
func (d *device) watch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-d.alarm:
		case <-d.over:
			return
		}
		for pause := tick; pause <= maxTick; {
			seen := d.taken.Load()
			timer.Reset(pause)
			select {
			case <-timer.C:
			case <-d.over:
				return
			}
			switch {
			case d.waiting.Load():
				pause *= 2
			case d.taken.Load() == seen:
				d.crowded.Store(fsyncsCrowded)
				d.help()
				pause = tick
			default:
				pause = tick
			}
		}
		d.watched.Store(false)
		if !d.waiting.Load() && d.watched.CompareAndSwap(false, true) {
			d.alarm <- struct{}{} // taken between the last look and the store
		}
	}
}

// reader answers requests, one after the other.
type reader struct {
	d       *device
	in, out []byte // so that data to write and data read begin a page: the kernel copies page by page
	memory  [2][]byte
	fd      int // that the request was read from: the answer goes there
	request request
	streak  time.Duration // busy without a pause; since the last call for help
	wide    bool          // its buffers have held a big request
}

func newReader(d *device) (r *reader, err error) {
	r = &reader{d: d}
	for i := range r.memory {
		if r.memory[i], err = buffer(pageSize + bufferSize(d.s.maxWrite)); err != nil {
			r.free()
			return nil, err
		}
	}
	r.in = r.memory[0][pageSize-unsafe.Sizeof(fuse.WriteIn{}):]
	r.out = r.memory[1][pageSize-outHeaderSize:]
	r.request.out = r.out[outHeaderSize:]
	return r, nil
}

func (r *reader) free() {
	for _, m := range r.memory {
		if m != nil {
			_ = unix.Munmap(m) // can't fail for what mmap gave
		}
	}
}

// take gets the next request; false: the reader isn't needed any more.
func (r *reader) take() bool {
	d := r.d
	for {
		if d.poll >= 0 {
			switch got := r.read(d.poll); got {
			case gotRequest:
				d.taken.Add(1)
				return true
			case gotEnd:
				return false
			default:
				r.streak = 0
			}
		}
		if d.s.ending.Load() {
			return false
		}
		if !d.await() {
			if !r.rest() {
				return false
			}
			continue
		}
		got := r.wait()
		d.taken.Add(1)
		d.took()
		if got == gotRequest {
			return true
		}
		if got == gotEnd {
			return false
		}
	}
}

// heldUp tells whether others may be while q is answered. A lone client that syncs again and again, as a database does,
// would have two threads take turns, each to be woken, for nobody; if a disk takes as long as a tick, watch finds out.
func (d *device) heldUp(q *request) bool {
	if q.head.Opcode != opFsync {
		return true
	}
	if d.crowded.Load() <= 0 {
		return false
	}
	d.crowded.Add(-1)
	return true
}

// rest waits to be called. The memory of big requests is given back, but not at once: another may come soon.
func (r *reader) rest() bool {
	if !r.wide {
		return r.d.rest(nil)
	}
	return r.d.rest(func() {
		r.wide = false
		for _, m := range r.memory {
			_ = unix.Madvise(m, unix.MADV_DONTNEED) // saves memory, no more
		}
	})
}

// serve answers the request that take got.
func (r *reader) serve() {
	q, s := &r.request, r.d.s
	start := now()
	if q.head.Opcode == opSetlkw {
		r.apart()
		return
	}
	if len(q.in) > bigData || largeRead(q) {
		r.wide = true
	}
	if r.streak > busy || slow(q) && r.d.heldUp(q) {
		r.streak = 0
		r.d.help()
	}
	r.d.working.Add(1)
	s.handle(q)
	r.reply(q)
	r.d.working.Add(-1)
	if s.kind == Ring {
		time.Sleep(together)
	}
	if !q.silent {
		r.streak += now() - start
	}
}

// apart answers a request that may wait for ever, from a copy of it.
func (r *reader) apart() {
	in := append([]byte(nil), r.request.in...)
	fd, s := r.fd, r.d.s
	s.serving.Go(func() {
		c := &reader{d: r.d, fd: fd, in: in, out: make([]byte, 256)}
		c.request = request{head: header(in), in: in, out: c.out[outHeaderSize:]}
		s.handle(&c.request)
		c.reply(&c.request)
	})
}

// reply writes the answer. The kernel has none to give to a request that was interrupted or aborted: ENOENT, ENODEV.
func (r *reader) reply(q *request) {
	if q.silent {
		return
	}
	*outHeader(r.out) = answerHead(q)
	out := r.out[:int(outHeaderSize)+q.size]
	for {
		switch errno := write(r.fd, out); errno {
		case unix.EINTR:
			continue
		case 0, unix.ENOENT, unix.ENODEV:
		default:
			r.d.s.cfg.Fault(fmt.Sprintf("answer to operation %d", q.head.Opcode), errno)
		}
		return
	}
}
