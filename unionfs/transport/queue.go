package transport

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue answers the requests of one processor's clients: by a worker that is pinned to
// it, since being woken on the client's own processor is what makes it quick: no other
// has to be told. A stream of large reads is the bulk worker's, on whichever processor is
// free: the client has copying to do while the next piece is fetched.
type queue struct {
	s       *Server
	id      int
	entries []entry
	live    atomic.Int32 // entries that the kernel has or that are being answered; none, or fewer: it is over
	own     *worker      // registers the entries
	helper  *helper
	streams streams
	bulk    atomic.Pointer[worker] // nil: not needed yet, or it can't be had
	tried   bool                   // to have bulk; of own's thread
	working sync.WaitGroup         // bulk
}

// queueDepth is how many requests of one processor's clients may be under way; more wait in the kernel.
const queueDepth = 32

// errRefused is the kernel's refusal of an entry: it goes on with the device.
var errRefused = errors.New("the kernel refuses an entry")

// newQueues makes one for every processor that there may ever be: the kernel uses
// none before all are registered. Everything that can fail is done here, while the
// kernel hasn't been promised a ring: from then on it waits for it.
func newQueues(maxWrite int) (queues []*queue, err error) {
	possible, err := processors("possible")
	if err != nil {
		return nil, err
	}
	online, err := processors("online")
	if err != nil {
		return nil, err
	}
	for id := range possible {
		q := &queue{id: id, entries: make([]entry, queueDepth)}
		if !slices.Contains(online, id) {
			q.entries = q.entries[:1] // has no clients unless it comes online: then they wait for each other
		}
		queues = append(queues, q)
		if err := q.allocate(max(maxWrite, headRoom)); err != nil {
			closeQueues(queues)
			return nil, err
		}
	}
	return queues, nil
}

func closeQueues(queues []*queue) {
	for _, q := range queues {
		if q.helper != nil {
			_ = unix.Close(q.helper.wakeup) // it doesn't run yet
		}
		q.close()
	}
}

func (q *queue) allocate(size int) (err error) {
	if q.own, err = newWorker(q); err != nil {
		return err
	}
	if q.helper, err = newHelper(q); err != nil {
		return err
	}
	for i := range q.entries {
		e := &q.entries[i]
		e.queue, e.worker, e.index = q, q.own, i
		if e.head, err = buffer(4096); err != nil {
			return err
		}
		if e.payload, err = buffer(size); err != nil {
			return err
		}
		e.vec = (*[2]unix.Iovec)(unsafe.Pointer(&e.head[uringHeadPad]))
		e.vec[0] = unix.Iovec{Base: &e.head[0], Len: uringHead}
		e.vec[1] = unix.Iovec{Base: &e.payload[0], Len: uint64(size)}
	}
	return nil
}

// threadsOfQueue are its own worker, the bulk worker and the helper.
const threadsOfQueue = 3

// startQueues begins to serve by the ring, or goes on with the device if the kernel refuses.
func (s *Server) startQueues() error {
	s.kind = Ring
	results := make(chan error, len(s.queues))
	gives := newGiveWay()
	for _, q := range s.queues {
		q.s, q.own.gives = s, gives
		s.serving.Go(func() { q.serve(results) })
	}
	// A thread that waits in a ring keeps one of Go's processors for a while, and
	// what leaves it wants another at once.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + threadsOfQueue*len(s.queues))
	for range s.queues {
		err := <-results
		switch {
		case errors.Is(err, errRefused):
			s.kind = Device
			s.cfg.Fault("io_uring can't be used, serving by "+string(Device), err)
		case err != nil:
			return err
		}
	}
	return nil
}

// serve registers the queue's entries, tells result, and answers until the kernel has ended them all.
func (q *queue) serve(result chan<- error) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its pinning
	q.pin()
	go q.helper.run()
	err := q.register()
	result <- err
	if err == nil {
		q.own.serve()
	}
	q.working.Wait()
	q.helper.end()
	q.close()
}

// forStreams gives the worker for streams, once there is one.
func (q *queue) forStreams() *worker {
	if b := q.bulk.Load(); b != nil {
		return b
	}
	if !q.tried {
		q.tried = true
		q.working.Go(q.serveBulk)
	}
	return q.own
}

func (q *queue) serveBulk() {
	runtime.LockOSThread() // and never unlocked: the ring is this thread's
	w, err := newWorker(q)
	if err == nil {
		defer w.close()
		err = w.ring.enable()
	}
	if err != nil {
		q.s.cfg.Fault("no worker for streams, they take longer", err)
		return
	}
	w.watchWakeup()
	q.bulk.Store(w)
	w.serve()
}

// pin keeps the thread on its processor. One that is offline has no clients: any other does.
func (q *queue) pin() {
	var set unix.CPUSet
	set.Set(q.id)
	_ = unix.SchedSetaffinity(0, &set)
}

// register gives the entries to the kernel.
func (q *queue) register() error {
	r := q.own.ring
	if err := r.enable(); err != nil {
		return err
	}
	q.own.watchWakeup()
	for i := range q.entries {
		e := &q.entries[i]
		s := e.command(uringRegister)
		s.addr, s.len = uint64(uintptr(unsafe.Pointer(e.vec))), 2
		q.live.Add(1)
	}
	if err := r.submit(); err != nil {
		return err
	}
	for { // refusals come at once; so may requests
		c, ok := r.completed()
		if !ok {
			return nil
		}
		if !q.own.take(c) {
			return fmt.Errorf("%w: %w", errRefused, unix.Errno(-c.res))
		}
	}
}

// wake makes its workers look at what they were given, and whether it is over.
func (q *queue) wake() {
	q.own.wake()
	if b := q.bulk.Load(); b != nil {
		b.wake()
	}
}

func (q *queue) close() {
	if q.own != nil {
		q.own.close()
	}
	for i := range q.entries {
		for _, m := range [][]byte{q.entries[i].head, q.entries[i].payload} {
			if m != nil {
				_ = unix.Munmap(m) // can't fail for what mmap gave
			}
		}
	}
}
