package unionfs

import (
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// desc is an open descriptor of a node's data, counted.
type desc struct {
	fd    int
	write bool // opened for writing
	read  bool // opened for reading, perhaps too
	how   int  // RWF_* flags to read with
	refs  atomic.Int32
}

// newDesc takes over fd, for a holder of one reference.
func newDesc(fd int, read, write bool) *desc {
	d := &desc{fd: fd, read: read, write: write}
	d.refs.Store(1)
	return d
}

// release gives a reference back. What close(2) says late was said by a sync before, or nobody asked.
func (d *desc) release() {
	if d.refs.Add(-1) == 0 {
		_ = sys.Close(d.fd)
	}
}

// Fd, How and Done make a desc a transport.Source.
func (d *desc) Fd() int  { return d.fd }
func (d *desc) How() int { return d.how }
func (d *desc) Done()    { d.release() }

// nodeData is what a node keeps open.
type nodeData struct {
	mu      sync.Mutex
	rd, wr  *desc                 // each holds one reference; guarded by mu
	opens   int32                 // handles of the kernel: not closed by age; guarded by mu
	backing int32                 // passthrough id of a volume's file; guarded by mu
	elem    *list.Element         // in descriptors.lru; guarded by descriptors.mu
	mtime   atomic.Pointer[mtime] // changed with the node's copyMu, or by who closes wr; nil: as the disk has it
}

// descriptors bounds how many nodes keep descriptors, closing those used longest ago.
type descriptors struct {
	max int // immutable
	mu  sync.Mutex
	lru list.List // of *node, most recent first; guarded by mu
}

func (c *descriptors) init(max int) {
	c.max = max
	c.lru.Init()
}

// touch notes a use of n and returns a node whose turn it is to close, or nil.
func (c *descriptors) touch(n *node) *node {
	d := &n.use().data
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.elem != nil {
		c.lru.MoveToFront(d.elem)
		return nil
	}
	d.elem = c.lru.PushFront(n)
	if c.lru.Len() <= c.max {
		return nil
	}
	old := c.lru.Remove(c.lru.Back()).(*node)
	old.use().data.elem = nil
	return old
}

// drop closes what n keeps open: its object has changed or is no longer needed.
func (c *descriptors) drop(n *node) {
	u := n.used.Load()
	if u == nil {
		return
	}
	c.mu.Lock()
	if u.data.elem != nil {
		c.lru.Remove(u.data.elem)
		u.data.elem = nil
	}
	c.mu.Unlock()
	u.data.mu.Lock()
	defer u.data.mu.Unlock()
	u.data.close()
}

// close lets go of both descriptors. Caller holds mu.
func (d *nodeData) close() {
	if d.wr != nil {
		d.payMtime(d.wr.fd)
	}
	for _, p := range []**desc{&d.rd, &d.wr} {
		if *p != nil {
			(*p).release()
			*p = nil
		}
	}
}

func (c *descriptors) closeAll() {
	for {
		c.mu.Lock()
		back := c.lru.Back()
		c.mu.Unlock()
		if back == nil {
			return
		}
		c.drop(back.Value.(*node))
	}
}

// file returns an open descriptor of n's data; the caller releases it. For
// writing, n must be in upper, data and all.
func (fs *FS) file(n *node, write bool) (*desc, error) {
	for {
		e := n.entry.Load()
		if d := n.use().data.take(write); d != nil {
			fs.data.touch(n)
			return d, nil
		}
		d, err := fs.openData(n, e, write)
		if err != nil {
			return nil, err
		}
		if n.tree.shared {
			return d, nil // never kept: the host may replace the file, or want to run it
		}
		if fs.retain(n, e, d) {
			return d, nil
		}
		d.release() // copied up meanwhile
	}
}

// retain keeps d open for n unless n's object has changed since e.
func (fs *FS) retain(n *node, e *layers.Entry, d *desc) bool {
	if !fs.data.put(n, e, d) {
		return false
	}
	if old := fs.data.touch(n); old != nil {
		old.use().data.shed()
	}
	return true
}

// any returns a kept descriptor, or nil.
func (d *nodeData) any() *desc {
	if got := d.take(false); got != nil {
		return got
	}
	return d.take(true)
}

// take returns a kept descriptor; a writable one reads as well if it can.
func (d *nodeData) take(write bool) *desc {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.wr
	if !write && d.rd != nil {
		got = d.rd
	}
	if got == nil || !write && !got.read {
		return nil
	}
	got.refs.Add(1)
	return got
}

// put keeps d unless n's object has changed since e.
func (c *descriptors) put(n *node, e *layers.Entry, d *desc) bool {
	data := &n.use().data
	data.mu.Lock()
	defer data.mu.Unlock()
	if now := n.entry.Load(); now.Upper != e.Upper || now.Data() != e.Data() {
		return false
	}
	slot := &data.rd
	if d.write {
		slot = &data.wr
	}
	if *slot != nil {
		(*slot).release()
	}
	*slot = d
	d.refs.Add(1)
	return true
}

// shed closes what is kept open by age alone.
func (d *nodeData) shed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opens == 0 {
		d.close()
	}
}

func (fs *FS) openData(n *node, e *layers.Entry, write bool) (*desc, error) {
	fd, err := fs.openObject(n, e, write, sys.O_RDWR)
	read := err != sys.EACCES || !write
	if !read { // a plain user's file that its owner may write but not read
		fd, err = fs.openObject(n, e, write, sys.O_WRONLY)
	}
	if err != nil {
		return nil, err
	}
	if e.Stat.Size > largeFile {
		sys.Sequential(fd)
	}
	d := newDesc(fd, read, write)
	if fs.tooLarge(n, e) && sys.ReadsOnce(fd) {
		d.how = sys.RWF_DONTCACHE
	}
	return d, nil
}

// tooLarge tells of a file that shall not be in memory twice, as what the kernel keeps of the union and as what the file
// system below keeps: so much is dearer than reading it again for another mount of the same layer.
func (fs *FS) tooLarge(n *node, e *layers.Entry) bool {
	return e.Stat.Size >= fs.onceFrom && !n.tree.shared && !fs.cfg.Coherent
}

// ofMemory is which part of the machine's memory a file may take twice. In a virtual machine whose host takes back what is
// free, fresh memory is dear besides: half of the time that a cold 1 GiB takes, where it goes into memory twice.
const ofMemory = 64

// largeFile is the size of a file, in bytes, from which on it matters how much the file system below reads ahead. The
// kernel asks us for more at once than it reads ahead itself: small pieces, each waited for, make that slower than it is below.
const largeFile = 256 << 10

// openObject opens n's object read-only, or for writing with the access mode given.
func (fs *FS) openObject(n *node, e *layers.Entry, write bool, mode int) (int, error) {
	if !e.Upper {
		if write || !e.HasLower() {
			return -1, sys.EROFS
		}
		return n.tree.stack.OpenData(e.Lower())
	}
	if data := e.Data(); data != nil {
		if write {
			return -1, sys.EROFS // as with a lower; what it read besides would be zeros
		}
		if data.Err != nil {
			return -1, data.Err
		}
		return n.tree.stack.OpenData(data.Ref)
	}
	if !write {
		mode = sys.O_RDONLY
	}
	return fs.reopen(n, mode|sys.O_NONBLOCK)
}

// opened counts a handle of the kernel's; d is what it has open of a volume's file.
func (n *node) opened(d *desc) {
	data := &n.use().data
	data.mu.Lock()
	defer data.mu.Unlock()
	data.opens++
	if n.tree.shared && d != nil && data.rd == nil {
		d.refs.Add(1)
		data.rd = d
	}
}

// closed ends one; with the last, nothing of a volume's file stays open.
func (n *node) closed() {
	data := &n.use().data
	data.mu.Lock()
	defer data.mu.Unlock()
	data.opens--
	if n.tree.shared && data.opens == 0 {
		data.close()
	}
}
