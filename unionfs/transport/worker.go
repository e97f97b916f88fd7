package transport

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// worker is a thread that answers a queue's requests by a ring of its own. It never waits for anything but its
// ring: what may take long leaves it, and comes back to be committed.
//
// The kernel sends an entry's next request to the ring through which its last answer was committed
// (fuse_uring_commit_fetch), and uses the entry first that was committed last. So when a worker hands a request to
// another, that one gets those that follow as well, without anybody between.
type worker struct {
	q     *queue
	ring  *ring
	away  int // entries that wait for the disk, by the ring or on another thread
	gives giveWay
	pace  diskPace // of polling for those that are away

	wakeup int // eventfd
	mu     sync.Mutex
	given  []*entry // by another thread, to be answered or committed; guarded by mu
	over   bool     // wakeup is closed; guarded by mu
}

// What a completion is of, but a command: then userData is the entry's index.
const (
	wakeupID = ^uint64(0)
	readID   = uint64(1) << 32 // with the entry's index: a read
)

func newWorker(q *queue) (*worker, error) {
	r, err := newRing(queueDepth + 1)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return &worker{q: q, ring: r, wakeup: fd}, nil
}

func (w *worker) close() {
	w.mu.Lock()
	w.over = true
	_ = unix.Close(w.wakeup)
	w.mu.Unlock()
	_ = w.ring.close() // nothing is under way
}

// serve answers until the queue is over, and tells the queue's other worker. If the ring fails it is over at once.
func (w *worker) serve() {
	for w.q.live.Load() > 0 {
		if err := w.round(); err != nil {
			w.q.live.Store(0)
			if !w.q.s.ending.Load() {
				w.q.s.cfg.Fault(fmt.Sprintf("io_uring of processor %d", w.q.id), err)
			}
		}
	}
	w.q.wake()
}

// round waits for requests and answers them.
func (w *worker) round() error {
	forClients, start := w.away == 0, now()
	if err := w.wait(); err != nil {
		return err
	}
	if forClients {
		w.gives.woken(now() - start)
	}
	for {
		c, ok := w.ring.completed()
		if !ok {
			return nil
		}
		if !w.take(c) { // ENOTCONN: the mount is gone
			w.q.live.Add(-1)
		}
		if w.ring.prepared() > 0 && w.ring.pending() {
			if err := w.ring.submit(); err != nil { // don't let the client wait for another's
				return err
			}
		}
	}
}

// take does what a completion is for. false: it is of a command that failed.
func (w *worker) take(c cqe) bool {
	switch {
	case c.userData == wakeupID:
		w.collect()
	case c.userData&readID != 0:
		w.arrived(&w.q.entries[c.userData&^readID], int(c.res))
	case c.res != 0:
		return false
	default:
		w.received(&w.q.entries[c.userData])
	}
	return true
}

// received answers a new request, or lets the worker do it that is for its kind.
func (w *worker) received(e *entry) {
	e.load()
	to := w.q.own
	if w.q.s.straight(&e.request) && w.q.streams.goesOn(as[fuse.ReadIn](&e.request)) {
		to = w.q.forStreams()
	}
	if e.worker = to; to != w {
		to.give(e)
		return
	}
	w.answer(e)
}

// answer answers the request in e, or lets it leave the thread.
func (w *worker) answer(e *entry) {
	r, s := &e.request, w.q.s
	if r.now = s.straight(r) || !s.lengthy(r); r.now {
		s.handle(r)
		if !r.later {
			e.store()
			e.command(uringCommitAndFetch)
			return
		}
	}
	if r.from != nil {
		e.read()
		return
	}
	w.leave(e)
}

// leave has e answered on another thread: the helper's on this processor, or any.
func (w *worker) leave(e *entry) {
	e.request.now = false
	e.goes(e.request.head.Opcode != opSetlkw) // that waits for other clients, perhaps for hours
	if largeRead(&e.request) || !w.q.helper.take(e) {
		go e.elsewhere()
	}
}

// give hands e to this worker, from another thread.
func (w *worker) give(e *entry) {
	w.mu.Lock()
	w.given = append(w.given, e)
	first := len(w.given) == 1
	w.mu.Unlock()
	if first {
		w.wake()
	}
}

// wake makes the thread look at what it was given, and whether the queue is over.
func (w *worker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	one := [8]byte{1}
	_, _ = unix.Write(w.wakeup, one[:]) // EAGAIN: it is awake
}

// watchWakeup asks the ring to tell when wake was called.
func (w *worker) watchWakeup() {
	s := w.ring.next()
	s.opcode, s.fd, s.opFlags, s.userData = opPollAdd, int32(w.wakeup), unix.POLLIN, wakeupID
}

// collect takes what it was given.
func (w *worker) collect() {
	var count [8]byte
	_, _ = unix.Read(w.wakeup, count[:]) // its number says nothing
	w.watchWakeup()
	w.mu.Lock()
	given := w.given
	w.given = nil
	w.mu.Unlock()
	for _, e := range given {
		if !e.answered {
			w.answer(e)
			continue
		}
		e.answered = false
		e.goes(false)
		e.command(uringCommitAndFetch)
	}
}
