package transport

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// read has the ring read what the request asks for: it waits for the disk, and this thread for requests meanwhile.
// Two threads less are to be woken than by a helper.
func (e *entry) read() {
	in := as[fuse.ReadIn](&e.request)
	e.goes(true)
	s := e.worker.ring.next()
	s.opcode, s.fd, s.cmdOp, s.userData = opRingRead, int32(e.request.from.Fd()), in.Offset, readID|uint64(e.index)
	s.addr, s.len, s.opFlags = uint64(uintptr(ptr(e.payload))), in.Size, uint32(e.request.from.How())
}

// arrived takes what the ring has read. Where that isn't all, Read is asked once more: it says why.
func (w *worker) arrived(e *entry, n int) {
	e.goes(false)
	r := &e.request
	in := as[fuse.ReadIn](r)
	all := n == int(in.Size) || n >= 0 && ends(r.from.Fd(), int64(in.Offset)+int64(n))
	r.from.Done()
	r.from = nil
	if !all {
		w.leave(e)
		return
	}
	r.status, r.size, r.later = fuse.OK, n, false
	e.store()
	e.command(uringCommitAndFetch)
}

// ends tells whether a file has nothing at off, and may say no rather than wait.
func ends(fd int, off int64) bool {
	var next [1]byte
	n, err := unix.Preadv2(fd, [][]byte{next[:]}, off, unix.RWF_NOWAIT)
	return n == 0 && err == nil
}
