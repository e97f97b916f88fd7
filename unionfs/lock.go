package unionfs

import (
	"slices"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers/sys"
)

// Locks come here only on a connection with a routed volume: they must meet
// those of the host and of other mounts, so they are taken on the volume's file
// itself, by one open file description per owner. On such a connection the
// union's locks come here as well; they are taken on a nameless stand-in, since
// a lower file can't be locked for writing and a copy-up would lose them.

// lockFiles finds the description that stands for one owner on one node.
type lockFiles struct {
	mu    sync.Mutex
	files map[*node]*nodeLocks // guarded by mu
}

type nodeLocks struct {
	standIn int             // descriptor of the stand-in; -1: the file itself
	byOwner map[lockKey]int // descriptors
}

type lockKey struct {
	owner uint64
	flock bool // flock(2)'s owners are other numbers than fcntl(2)'s
}

// open returns the owner's description of n's lock file, made if missing. It
// is made without mu, since finding the file takes locks that come before it.
func (l *lockFiles) open(fs *FS, n *node, key lockKey) (int, error) {
	if fd, ok := l.find(n, key); ok {
		return fd, nil
	}
	fd, err := l.describe(fs, n)
	if err != nil {
		return -1, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.of(n)
	if other, ok := nl.byOwner[key]; ok {
		_ = sys.Close(fd) // a second request of the owner was quicker
		return other, nil
	}
	nl.byOwner[key] = fd
	return fd, nil
}

func (l *lockFiles) find(n *node, key lockKey) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files[n] == nil {
		return -1, false
	}
	fd, ok := l.files[n].byOwner[key]
	return fd, ok
}

// of returns n's locks, made if missing. Caller holds mu.
func (l *lockFiles) of(n *node) *nodeLocks {
	if l.files == nil {
		l.files = make(map[*node]*nodeLocks)
	}
	nl := l.files[n]
	if nl == nil {
		nl = &nodeLocks{standIn: -1, byOwner: make(map[lockKey]int)}
		l.files[n] = nl
	}
	return nl
}

// describe opens a new description of what n's locks are taken on.
func (l *lockFiles) describe(fs *FS, n *node) (int, error) {
	if !n.tree.shared {
		return l.describeStandIn(n)
	}
	p, err := fs.pathFd(n)
	if err != nil {
		return -1, err
	}
	defer sys.Close(p)
	fd, err := sys.Reopen(p, sys.O_RDWR)
	if err != nil {
		fd, err = sys.Reopen(p, sys.O_RDONLY)
	}
	return fd, err
}

func (l *lockFiles) describeStandIn(n *node) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.of(n)
	if nl.standIn < 0 {
		fd, err := sys.Nameless("unionmount-locks")
		if err != nil {
			return -1, err
		}
		nl.standIn = fd
	}
	return sys.Reopen(nl.standIn, sys.O_RDWR)
}

// end closes an owner's description, and every lock with it.
func (l *lockFiles) end(n *node, key lockKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.files[n]
	if nl == nil {
		return
	}
	if fd, ok := nl.byOwner[key]; ok {
		_ = sys.Close(fd) // for locks only
		delete(nl.byOwner, key)
	}
	if len(nl.byOwner) == 0 {
		l.forget(n, nl)
	}
}

// took notes that an owner of locks uses a handle.
func (l *lockFiles) took(h *handle, owner uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h != nil && !slices.Contains(h.owners, owner) {
		h.owners = append(h.owners, owner)
	}
}

// release ends the locks of a handle that is closed for good: the kernel tells
// of the end of POSIX locks by FLUSH, but of open-file-description locks it says nothing.
func (l *lockFiles) release(h *handle) {
	l.mu.Lock()
	owners := h.owners
	h.owners = nil
	l.mu.Unlock()
	for _, o := range owners {
		l.unlockAll(h.node, o)
	}
}

func (l *lockFiles) unflock(n *node, owner uint64)   { l.end(n, lockKey{owner, true}) }
func (l *lockFiles) unlockAll(n *node, owner uint64) { l.end(n, lockKey{owner, false}) }

// forget closes what is left of n's. Caller holds mu.
func (l *lockFiles) forget(n *node, nl *nodeLocks) {
	for _, fd := range nl.byOwner {
		_ = sys.Close(fd) // for locks only
	}
	if nl.standIn >= 0 {
		_ = sys.Close(nl.standIn)
	}
	delete(l.files, n)
}

// drop ends every lock on a node that the kernel has forgotten.
func (l *lockFiles) drop(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if nl := l.files[n]; nl != nil {
		l.forget(n, nl)
	}
}

func (l *lockFiles) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, nl := range l.files {
		l.forget(n, nl)
	}
}

// GetLk answers F_GETLK.
func (c *conn) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	fd, err := c.fs.locks.open(c.fs, c.node(in.NodeId), lockKey{in.Owner, false})
	if err != nil {
		return c.fs.status(err)
	}
	got, err := sys.GetRangeLock(fd, sys.RangeLock{Type: int16(in.Lk.Typ), Start: in.Lk.Start, End: in.Lk.End})
	out.Lk = fuse.FileLock{Start: got.Start, End: got.End, Typ: uint32(got.Type), Pid: got.Pid}
	return c.fs.status(err)
}

// SetLk sets or clears a lock without waiting.
func (c *conn) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return c.fs.status(c.fs.setLock(c.node(in.NodeId), in))
}

// SetLkw waits for the lock. The wait polls, so that an interrupt ends it and no thread is stuck in the kernel.
func (c *conn) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	n := c.node(in.NodeId)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := c.fs.setLock(n, in)
		if err != sys.EWOULDBLOK && err != sys.EACCES {
			return c.fs.status(err)
		}
		select {
		case <-cancel:
			return fuse.EINTR
		case <-time.After(pause):
		}
	}
}

func (fs *FS) setLock(n *node, in *fuse.LkIn) error {
	key := lockKey{in.Owner, in.LkFlags&fuse.FUSE_LK_FLOCK != 0}
	fd, err := fs.locks.open(fs, n, key)
	if err != nil {
		return err
	}
	if !key.flock {
		fs.locks.took(fs.handles.get(in.Fh), in.Owner)
		return sys.SetRangeLock(fd, sys.RangeLock{Type: int16(in.Lk.Typ), Start: in.Lk.Start, End: in.Lk.End})
	}
	if in.Lk.Typ == sys.F_UNLCK {
		fs.locks.unflock(n, in.Owner)
		return nil
	}
	return sys.Flock(fd, in.Lk.Typ == sys.F_WRLCK)
}
