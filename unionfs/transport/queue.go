package transport

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue answers the requests of one processor's clients: a thread, pinned to that
// processor, with a ring of its own. Being woken on the client's own processor
// is what makes it quick: no other has to be told.
//
// What may take long leaves the thread: nothing else of that processor would be
// answered meanwhile. Its answer comes back through done, since only the thread
// that registered an entry can hand it to the kernel again.
type queue struct {
	s       *Server
	id      int
	ring    *ring
	entries []entry
	live    int // entries that the kernel has or that are being answered
	away    int // of them, those that wait for the disk, by the ring or on another thread
	gives   giveWay
	pace    diskPace // of polling for those that are away

	helper *helper
	wakeup int // eventfd
	mu     sync.Mutex
	done   []*entry // answered elsewhere; guarded by mu
	over   bool     // wakeup is closed; guarded by mu
}

// entry is room for one request under way.
type entry struct {
	queue   *queue
	index   int
	head    []byte // struct fuse_uring_req_header
	payload []byte
	vec     *[2]unix.Iovec // of head and payload; lies in memory that doesn't move
	commit  uint64
	away    bool // counted in the queue's away
	request request
}

// queueDepth is how many requests of one processor's clients may be under way; more wait in the kernel.
const queueDepth = 32

// What a completion is of, but a command: then userData is the entry's index.
const (
	wakeupID = ^uint64(0)
	readID   = uint64(1) << 32 // with the entry's index: a read
)

// Layout of struct fuse_uring_req_header.
const (
	uringInOut   = 0   // fuse_in_header, then fuse_out_header
	uringOpIn    = 128 // the operation's own struct
	uringEntry   = 256 // struct fuse_uring_ent_in_out: flags, commit_id, payload_sz
	uringHead    = 288
	uringHeadPad = 4096 - 64 // where vec lies in an entry's page
)

// Commands on /dev/fuse (enum fuse_uring_cmd).
const (
	uringRegister       = 1
	uringCommitAndFetch = 2
)

// commandIn is struct fuse_uring_cmd_req.
type commandIn struct {
	flags, commit uint64
	queue         uint16
	_             [6]byte
}

// entryInOut is struct fuse_uring_ent_in_out.
type entryInOut struct {
	flags, commit uint64
	payload, _    uint32
	_             uint64
}

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
		q := &queue{id: id, wakeup: -1, entries: make([]entry, queueDepth)}
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
	if q.ring, err = newRing(queueDepth + 1); err != nil {
		return err
	}
	if q.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	if q.helper, err = newHelper(q); err != nil {
		return err
	}
	for i := range q.entries {
		e := &q.entries[i]
		e.queue, e.index = q, i
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

// startQueues begins to serve by the ring, or goes on with the device if the kernel refuses.
func (s *Server) startQueues() error {
	s.kind = Ring
	results := make(chan error, len(s.queues))
	gives := newGiveWay()
	for _, q := range s.queues {
		q.s, q.gives = s, gives
		s.serving.Go(func() { q.serve(results) })
	}
	// A thread that waits in a ring keeps one of Go's processors for a while, and
	// what leaves it wants another at once.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2*len(s.queues))
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
	for err == nil && q.live > 0 {
		err = q.round()
	}
	if err != nil && !q.s.ending.Load() {
		q.s.cfg.Fault(fmt.Sprintf("io_uring of processor %d", q.id), err)
	}
	q.helper.end()
	q.close()
}

// pin keeps the thread on its processor. One that is offline has no clients: any other does.
func (q *queue) pin() {
	var set unix.CPUSet
	set.Set(q.id)
	_ = unix.SchedSetaffinity(0, &set)
}

// register gives the entries to the kernel.
func (q *queue) register() error {
	if err := q.ring.enable(); err != nil {
		return err
	}
	q.watchWakeup()
	for i := range q.entries {
		e := &q.entries[i]
		s := e.command(uringRegister)
		s.addr, s.len = uint64(uintptr(unsafe.Pointer(e.vec))), 2
		q.live++
	}
	if err := q.ring.submit(); err != nil {
		return err
	}
	for { // refusals come at once; so may requests
		c, ok := q.ring.completed()
		if !ok {
			return nil
		}
		if !q.take(c) {
			return fmt.Errorf("%w: %w", errRefused, unix.Errno(-c.res))
		}
	}
}

// take does what a completion is for. false: it is of a command that failed.
func (q *queue) take(c cqe) bool {
	switch {
	case c.userData == wakeupID:
		q.collect()
	case c.userData&readID != 0:
		q.arrived(&q.entries[c.userData&^readID], int(c.res))
	case c.res != 0:
		return false
	default:
		q.answer(&q.entries[c.userData])
	}
	return true
}

// watchWakeup asks the ring to tell when wake was called.
func (q *queue) watchWakeup() {
	s := q.ring.next()
	s.opcode, s.fd, s.opFlags, s.userData = opPollAdd, int32(q.wakeup), unix.POLLIN, wakeupID
}

// command prepares a command for an entry.
func (e *entry) command(op uint64) *sqe {
	s := e.queue.ring.next()
	s.opcode, s.fd, s.cmdOp, s.userData = opUringCmd, int32(e.queue.s.fd), op, uint64(e.index)
	*(*commandIn)(unsafe.Pointer(&s.cmd)) = commandIn{commit: e.commit, queue: uint16(e.queue.id)}
	return s
}

// round waits for requests and answers them.
func (q *queue) round() error {
	forClients, start := q.away == 0, now()
	if err := q.wait(); err != nil {
		return err
	}
	if forClients {
		q.gives.woken(now() - start)
	}
	for {
		c, ok := q.ring.completed()
		if !ok {
			return nil
		}
		if !q.take(c) { // ENOTCONN: the mount is gone
			q.live--
		}
		if q.ring.prepared() > 0 && q.ring.pending() {
			if err := q.ring.submit(); err != nil { // don't let the client wait for another's
				return err
			}
		}
	}
}

// answer answers the request in e, or lets somebody else do it.
func (q *queue) answer(e *entry) {
	e.load()
	if e.request.now = !q.s.lengthy(&e.request); e.request.now {
		q.s.handle(&e.request)
		if !e.request.later {
			e.store()
			e.command(uringCommitAndFetch)
			return
		}
	}
	if e.request.from != nil {
		e.read()
		return
	}
	q.leave(e)
}

// leave has e answered on another thread than the queue's: the helper's on this processor, or any other.
func (q *queue) leave(e *entry) {
	e.request.now = false
	e.goes(e.request.head.Opcode != opSetlkw) // that waits for other clients, perhaps for hours
	if largeRead(&e.request) || !q.helper.take(e) {
		go q.elsewhere(e)
	}
}

// goes notes whether e waits for the disk.
func (e *entry) goes(away bool) {
	if away == e.away {
		return
	}
	e.away = away
	if away {
		e.queue.away++
	} else {
		e.queue.away--
	}
}

// elsewhere answers on another thread than the queue's.
func (q *queue) elsewhere(e *entry) {
	q.s.handle(&e.request)
	e.store()
	q.mu.Lock()
	q.done = append(q.done, e)
	first := len(q.done) == 1
	q.mu.Unlock()
	if first {
		q.wake()
	}
}

// load finds the request in what the kernel wrote. The operation's struct follows
// the header in memory once the header is moved up to it.
func (e *entry) load() {
	const at = uringOpIn - int(inHeaderSize)
	copy(e.head[at:uringOpIn], e.head[uringInOut:])
	of := (*entryInOut)(unsafe.Pointer(&e.head[uringEntry]))
	e.commit = of.commit
	r := &e.request
	r.ring = true
	r.head = header(e.head[at:])
	own := max(0, min(int(r.head.Length)-int(inHeaderSize)-int(of.payload), uringEntry-uringOpIn))
	r.in = e.head[at : uringOpIn+own]
	r.data = e.payload[:min(int(of.payload), len(e.payload))]
	r.out = e.payload
}

// store writes the answer where the kernel looks for it.
func (e *entry) store() {
	r := &e.request
	*outHeader(e.head[uringInOut:]) = answerHead(r)
	of := (*entryInOut)(unsafe.Pointer(&e.head[uringEntry]))
	of.payload = uint32(r.size)
}

// wake makes the thread look at done.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || q.wakeup < 0 {
		return
	}
	one := [8]byte{1}
	_, _ = unix.Write(q.wakeup, one[:]) // EAGAIN: it is awake
}

// collect hands over what was answered elsewhere.
func (q *queue) collect() {
	var count [8]byte
	_, _ = unix.Read(q.wakeup, count[:]) // its number says nothing
	q.watchWakeup()
	q.mu.Lock()
	done := q.done
	q.done = nil
	q.mu.Unlock()
	for _, e := range done {
		e.goes(false)
		e.command(uringCommitAndFetch)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.over = true
	if q.wakeup >= 0 {
		_ = unix.Close(q.wakeup)
	}
	q.mu.Unlock()
	if q.ring != nil {
		_ = q.ring.close() // nothing is under way
	}
	for i := range q.entries {
		for _, m := range [][]byte{q.entries[i].head, q.entries[i].payload} {
			if m != nil {
				_ = unix.Munmap(m) // can't fail for what mmap gave
			}
		}
	}
}
