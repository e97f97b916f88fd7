package unionfs

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers/sys"
)

// writeback tells whether the kernel may hold back what is written, and keeps size
// and times of files itself: for that nobody else may change them.
func (fs *FS) writeback() bool {
	return fs.cfg.IO == IOCached && fs.cfg.Upper != "" && fs.cfg.Writeback && !fs.cfg.Coherent
}

// fetchWritten has the kernel hand over what it holds back of n's data from off
// on. It does so by itself before all requests but LSEEK (fuse_lseek) and SETXATTR.
func (fs *FS) fetchWritten(n *node, off int64) error {
	if !fs.writeback() || n.tree.writer == nil {
		return nil
	}
	return fs.server.InvalidateInode(n.id, off, 0)
}

// arrived is told how the WRITE of data ended that the kernel held back.
func (fs *FS) arrived(in *fuse.WriteIn, done uint32, status fuse.Status) {
	fs.boundAnew(int64(done))
	if !status.Ok() {
		fs.lost(fs.table.get(in.NodeId), in, status)
	}
}

// lost notes that data failed to arrive that write(2) had taken. The kernel tells
// close(2) and fsync(2) of it; the next write(2) shall know too, so the kernel has to
// ask for attributes before it. The pages go, and the names too, so that the kernel
// forgets the file once it is closed: both show what is nowhere else, the size
// by which the data had made the file longer among it.
func (fs *FS) lost(n *node, in *fuse.WriteIn, status fuse.Status) {
	n.use().lost.Store(int32(status))
	off, size := int64(in.Offset), int64(in.Size)
	fs.server.Later(func() {
		_ = fs.server.InvalidateInode(n.id, off, size) // the kernel has forgotten it already
		for _, at := range fs.table.places(n) {
			_ = fs.server.InvalidateEntry(at.dir.id, at.name) // the same
		}
	})
}

// reportLost answers, once, a request for attributes that a write(2) makes
// (fuse_cache_write_iter), which names an open file as stat(2) and fstat(2) do not.
func (n *node) reportLost(in *fuse.GetAttrIn) fuse.Status {
	u := n.used.Load()
	if u == nil || in.Flags()&fuse.FUSE_GETATTR_FH == 0 || u.lost.Load() == 0 {
		return fuse.OK
	}
	return fuse.Status(u.lost.Swap(0))
}

// doubts tells whether what is about to be written to n's object is
// likely to be lost when it arrives: then write(2) shall know, and not only close(2).
//
// Before the first write(2) to a file the kernel asks for the size of its
// capabilities, removes them if there is one, sends a SETATTR of nothing, and fails
// the write if that fails (file_remove_privs, notify_change). So a file in doubt shows
// capabilities, and that SETATTR makes it ready. A truncation asks as well, but its
// SETATTR has a size, and needs no room.
func (fs *FS) doubts(n *node) bool {
	e := n.entry.Load()
	if !fs.writeback() || n.tree.writer == nil || e.Stat.Mode&sys.S_IFMT != sys.S_IFREG {
		return false
	}
	needs := int64(oneBlock)
	if data := e.Data(); data != nil {
		needs += data.Blocks * 512
	} else if !e.Upper {
		if fs.fixed(n) != nil {
			return true
		}
		needs += e.Stat.Blocks * 512
	} else if st, err := fs.stat(n); err != nil || st.Size > 0 {
		return false // it may have the blocks already
	}
	for try := 0; fs.lacks(needs); try++ {
		if try == 5 || n.inDoubt() { // or asked the second time
			return true
		}
		time.Sleep(2 * time.Millisecond) // a file just removed takes its room until the kernel's FORGET is here
	}
	return false
}

// inDoubt tells whether doubts had the kernel ask for a removal of capabilities that wasn't settled yet.
func (n *node) inDoubt() bool {
	u := n.used.Load()
	return u != nil && u.is.has(doubted)
}

const oneBlock = 4096

// Room that is ample is not looked at again for a while: every file just made asks.
const (
	ample    = 1 << 30
	staysFor = 100 * time.Millisecond
)

// lacks tells whether upper has no room for so many bytes, or only what root may take yet.
func (fs *FS) lacks(bytes int64) bool {
	now := time.Now()
	if bytes < ample/2 && now.UnixNano() < fs.held.ample.Load() {
		return false
	}
	st, err := fs.union.statfs()
	room := int64(st.Bavail) * st.Bsize
	if err == nil && (st.Blocks == 0 || room >= ample) {
		fs.held.ample.Store(now.Add(staysFor).UnixNano())
	}
	return err == nil && st.Blocks > 0 && room < bytes
}

// removesNone tells whether a removal of capabilities is one that doubts had the
// kernel ask for: there are none.
func (fs *FS) removesNone(n *node) bool {
	if !n.inDoubt() {
		return false
	}
	_, err := fs.xattr(n, capability)
	return err == sys.ENODATA
}

// flushesNothing tells whether a SETATTR is the kernel's flush of times that moved nothing but ctime: it sends one
// after each unlink, rename and link of a file, and after the removal of capabilities that doubts had made up
// (fuse_update_ctime, fuse_flush_times). For a lower file it would mean a copy-up, of what was just unlinked. In upper
// the change itself has moved ctime, a moment before the kernel took its time. Anything else somebody asks for:
// utimensat(2) with the mtime that a file has looks the same, and moves ctime.
func (fs *FS) flushesNothing(n *node, in *fuse.SetAttrIn) bool {
	e := n.entry.Load()
	if !fs.writeback() || n.tree.shared || !e.IsRegular() || !onlyTimes(in) {
		return false
	}
	st := e.Stat.Full()
	if !e.Upper && !n.isGone() && !n.inDoubt() && st.Nlink < 2 {
		return false // no name of it was removed
	}
	if e.Upper {
		var err error
		if st, err = fs.stat(n); err != nil || time.Unix(int64(in.Ctime), int64(in.Ctimensec)).Sub(time.Unix(st.Ctim.Unix())) > aMoment {
			return false
		}
		if at, owed := n.shownMtime(); owed {
			st.Mtim = at
		}
	}
	return int64(in.Mtime) == st.Mtim.Sec && int64(in.Mtimensec) == st.Mtim.Nsec
}

// aMoment is how long after a change of names the kernel takes its time: longer on a very busy machine, where a flush
// then writes the times that are there.
const aMoment = 20 * time.Millisecond

func onlyTimes(in *fuse.SetAttrIn) bool {
	return in.Valid&^(fuse.FATTR_CTIME|fuse.FATTR_FH|fuse.FATTR_LOCKOWNER) == fuse.FATTR_MTIME
}

// keepsMtime truncates the file behind fd. If the kernel keeps its times, it has changed them before it asks, and
// says so; that it does not means that truncate(2) found the size as it is to be (fuse_do_setattr), and then it
// shows the old ones. Those must be what is on the disk, for the next mount to show the same.
func (fs *FS) keepsMtime(n *node, in *fuse.SetAttrIn, fd int, truncate func() error) error {
	if !fs.writeback() || n.tree.writer == nil || in.Valid&fuse.FATTR_MTIME != 0 {
		return truncate()
	}
	at, owed := n.shownMtime()
	if !owed {
		st, err := sys.StatFd(fd)
		if err != nil {
			return err
		}
		at = st.Mtim
	}
	if err := truncate(); err != nil {
		return err
	}
	return sys.UtimesFd(fd, sys.Timespec{Nsec: sys.UTIME_OMIT}, at)
}

// settle ends n's doubt with the SETATTR of nothing before a write: n is in upper by now; an empty file gets its first block.
func (fs *FS) settle(n *node, in *fuse.SetAttrIn) error {
	if onlyTimes(in) || !n.inDoubt() || !n.use().is.clear(doubted) || in.Valid&fuse.FATTR_SIZE != 0 {
		return nil
	}
	d, err := fs.fileOf(n, 0, false, true)
	if err != nil {
		return err
	}
	defer d.release()
	if st, err := sys.StatFd(d.fd); err != nil || st.Size > 0 {
		return err
	}
	err = sys.Fallocate(d.fd, sys.FALLOC_KEEP_SIZE, 0, oneBlock)
	if err == sys.ENOTSUP {
		return nil
	}
	return err
}

// heldBack bounds what the kernel holds back by the room there is for it: what
// does not fit shall show soon.
type heldBack struct {
	dev   atomic.Uint64 // the mount's; 0: nothing is bounded
	ample atomic.Int64  // until when there is ample room, in ns since the epoch
	left  atomic.Int64  // bytes that may arrive before the room is looked at again
	mu    sync.Mutex    // one looks
}

const leastHeldBack = 1 << 20

// holdBack begins to bound what the kernel holds back of the mount.
func (fs *FS) holdBack(mountpoint string) {
	if !fs.writeback() {
		return
	}
	dev, err := mountDev(mountpoint)
	if err == nil {
		err = fs.bound(dev)
	}
	if err != nil {
		fs.cfg.Log.Info("the kernel's own bound on what is held back stays", "error", err)
		return
	}
	fs.held.dev.Store(dev)
}

// mountDev is st_dev of what is mounted at path.
func mountDev(path string) (uint64, error) {
	fd, err := sys.Open(path, sys.O_PATH)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer sys.Close(fd)
	st, err := sys.StatFd(fd)
	return st.Dev, err
}

// boundAnew counts data that arrived and looks at the room now and then.
func (fs *FS) boundAnew(bytes int64) {
	h := &fs.held
	dev := h.dev.Load()
	if dev == 0 || h.left.Add(-bytes) >= 0 || !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	if fs.bound(dev) != nil {
		h.left.Store(leastHeldBack) // the bound stays as it was
	}
}

// bound lets the kernel hold back half of the room that upper's file system has.
func (fs *FS) bound(dev uint64) error {
	st, err := fs.union.statfs()
	if err != nil {
		return fmt.Errorf("statfs upper: %w", err)
	}
	if st.Blocks == 0 { // a tmpfs without a limit
		return nil
	}
	limit := max(leastHeldBack, int64(st.Bavail)*st.Bsize/2)
	fs.held.left.Store(max(leastHeldBack, limit/8))
	return sys.LimitWriteback(dev, limit)
}
