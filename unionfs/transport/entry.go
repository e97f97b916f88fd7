package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// entry is room for one request under way.
type entry struct {
	queue    *queue
	worker   *worker // that answers, or has answered: the kernel sends the next request to its ring
	index    int
	head     []byte // struct fuse_uring_req_header
	payload  []byte
	vec      *[2]unix.Iovec // of head and payload; lies in memory that doesn't move
	commit   uint64
	away     bool // counted in the worker's away
	answered bool // elsewhere: what is left is to commit it
	request  request
}

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

// command prepares a command for an entry, in its worker's ring.
func (e *entry) command(op uint64) *sqe {
	s := e.worker.ring.next()
	s.opcode, s.fd, s.cmdOp, s.userData = opUringCmd, int32(e.queue.s.fd), op, uint64(e.index)
	*(*commandIn)(unsafe.Pointer(&s.cmd)) = commandIn{commit: e.commit, queue: uint16(e.queue.id)}
	return s
}

// goes notes whether e waits for the disk.
func (e *entry) goes(away bool) {
	if away == e.away {
		return
	}
	e.away = away
	if away {
		e.worker.away++
	} else {
		e.worker.away--
	}
}

// elsewhere answers on another thread than the worker's.
func (e *entry) elsewhere() {
	e.queue.s.handle(&e.request)
	e.store()
	e.answered = true
	e.worker.give(e)
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
