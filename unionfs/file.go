package unionfs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/transport"
)

// Open answers ENOSYS where the kernel shall never ask again.
func (c *conn) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if c.fs.cfg.IO == IOCached {
		return fuse.ENOSYS
	}
	n := c.node(in.NodeId)
	mode := int(in.Flags) & sys.O_ACCMODE
	if mode != sys.O_RDONLY && n.tree.writer == nil {
		return fuse.EROFS
	}
	if !n.tree.shared {
		c.fs.openNew(n, nil, out)
		return fuse.OK
	}
	d, err := c.fs.openShared(n, in.Flags)
	if err != nil {
		return c.fs.failed(n, "open", err)
	}
	c.fs.openNew(n, d, out)
	return fuse.OK
}

// openShared opens a volume's file for one handle.
func (fs *FS) openShared(n *node, flags uint32) (*desc, error) {
	mode := int(flags) & sys.O_ACCMODE
	fd, err := fs.reopen(n, mode|sys.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return newDesc(fd, mode != sys.O_WRONLY, mode != sys.O_RDONLY), nil
}

// openNew makes the handle of an open file. It takes over d (nil: none).
func (fs *FS) openNew(n *node, d *desc, out *fuse.OpenOut) {
	h := &handle{node: n}
	n.opened(d)
	switch {
	case n.tree.shared:
		h.own = d
		out.OpenFlags = fs.sharedFlags(n, d, out)
	default:
		if d != nil {
			d.release()
		}
		if !fs.cfg.Coherent {
			out.OpenFlags = fuse.FOPEN_KEEP_CACHE
		}
		if !fs.forwardsLocks() {
			out.OpenFlags |= fuse.FOPEN_NOFLUSH
		}
	}
	out.Fh = fs.handles.add(h)
}

// sharedFlags chooses how the kernel reaches a volume's data: by the file
// itself, where it may and so every mapping is coherent, else past its cache. The
// choice of a node stays until it is forgotten: the two can't be mixed.
//
// A file with setuid or setgid is written past the cache in any case: the kernel
// would write to it as us, and we may keep the bits. It is both then: mappings go
// to the file itself, calls come here (fuse_file_io_open wants the first flag of
// every open while one has it, and answers EIO).
func (fs *FS) sharedFlags(n *node, d *desc, out *fuse.OpenOut) uint32 {
	id, backed := fs.register(n, d)
	if !backed {
		return fuse.FOPEN_DIRECT_IO
	}
	out.BackingID = id
	if d.write {
		if st, err := sys.StatFd(d.fd); err != nil || st.Mode&(sys.S_ISUID|sys.S_ISGID) != 0 {
			return fuse.FOPEN_PASSTHROUGH | fuse.FOPEN_DIRECT_IO
		}
	}
	return fuse.FOPEN_PASSTHROUGH
}

// Backing ids of a node: none tried, none to be had, else the id.
const (
	backingUnknown = 0
	backingNever   = -1
)

func (fs *FS) register(n *node, d *desc) (int32, bool) {
	if !fs.passthrough || d == nil {
		return 0, false
	}
	data := &n.use().data
	data.mu.Lock()
	defer data.mu.Unlock()
	if data.backing == backingUnknown {
		id, err := fs.server.RegisterBacking(d.fd)
		if err != nil {
			id = backingNever
		}
		data.backing = id
	}
	return data.backing, data.backing > 0
}

// unregister gives a backing id back when the kernel has forgotten the node.
func (fs *FS) unregister(n *node) {
	u := n.used.Load()
	if u == nil {
		return
	}
	u.data.mu.Lock()
	defer u.data.mu.Unlock()
	if u.data.backing > 0 {
		_ = fs.server.UnregisterBacking(u.data.backing) // the kernel has forgotten the node already
		u.data.backing = backingNever
	}
}

// statOpen stats a volume's file through a handle that has it open: its name may lead elsewhere by now.
func (fs *FS) statOpen(n *node) (sys.Stat, bool) {
	u := n.used.Load()
	if u == nil {
		return sys.Stat{}, false
	}
	u.data.mu.Lock()
	defer u.data.mu.Unlock()
	if u.data.opens == 0 || u.data.rd == nil {
		return sys.Stat{}, false
	}
	st, err := sys.StatFd(u.data.rd.fd)
	return st, err == nil
}

// Release ends a handle.
func (c *conn) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h := c.fs.handles.remove(in.Fh)
	if h == nil {
		return
	}
	if in.ReleaseFlags&fuse.FUSE_RELEASE_FLOCK_UNLOCK != 0 {
		c.fs.locks.unflock(h.node, in.LockOwner)
	}
	c.fs.locks.release(h)
	h.node.closed()
	if h.own != nil {
		h.own.release()
	}
}

// Flush comes at every close(2) where locks are ours to keep: POSIX locks end with it.
func (c *conn) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if !c.fs.forwardsLocks() {
		return fuse.ENOSYS
	}
	n := c.node(in.NodeId)
	err := flushBelow(c.fs.handles.get(in.Fh))
	c.fs.locks.unlockAll(n, in.LockOwner)
	if err != nil {
		return c.fs.failed(n, "close", err)
	}
	return fuse.OK
}

// flushBelow has a volume's own file system do what it does at close(2), and says what
// that says: what was written to a file is seen on other hosts once it is closed (nfs,
// GlusterFS), and if it couldn't be written, that shows there.
func flushBelow(h *handle) error {
	if h == nil || h.own == nil || !h.own.write {
		return nil
	}
	fd, err := sys.Dup(h.own.fd)
	if err != nil {
		return err
	}
	return sys.Close(fd)
}

// Read is read for a caller that wants it wrapped.
func (c *conn) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, status := c.read(in, buf, false)
	return fuse.ReadResultData(buf[:n]), status
}

// read reads data; a lower's until a copy-up ends, upper's from then on, whatever handle it comes by.
// now: EAGAIN rather than wait for the disk.
func (c *conn) read(in *fuse.ReadIn, buf []byte, now bool) (int, fuse.Status) {
	n := c.node(in.NodeId)
	d, err := c.fs.fileOf(n, in.Fh, true, false)
	if err != nil {
		return 0, c.fs.failed(n, "read", err)
	}
	defer d.release()
	if e := n.entry.Load(); !e.Upper && !c.fs.cfg.Coherent { // its end is known, and not to be found by one more pread(2)
		buf = buf[:max(0, min(int64(len(buf)), e.Stat.Size-int64(in.Offset)))]
	}
	if now {
		got, err := sys.PreadNow(d.fd, buf, int64(in.Offset), d.how)
		switch err {
		case nil:
			return got, fuse.OK
		case sys.EWOULDBLOK:
			return 0, fuse.EAGAIN
		} // whatever it is, it shows again below
	}
	got, err := sys.Pread(d.fd, buf, int64(in.Offset), d.how)
	if err != nil {
		return 0, c.fs.failed(n, "read", err)
	}
	return got, fuse.OK
}

// readFrom is what read reads in. A volume's file is left to read: it may be a handle's own.
func (c *conn) readFrom(in *fuse.ReadIn) transport.Source {
	n := c.node(in.NodeId)
	if n.tree.shared {
		return nil
	}
	d, err := c.fs.file(n, false)
	if err != nil {
		return nil // read says why
	}
	return d
}

// Write writes data. The kernel has appended already in the union, whose size
// it knows; on a volume another may have written since, so the file itself appends.
func (c *conn) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	done, status := c.write(in, data)
	if in.WriteFlags&fuse.WRITE_CACHE != 0 && c.fs.writeback() {
		c.fs.arrived(in, done, status)
	}
	return done, status
}

func (c *conn) write(in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n := c.node(in.NodeId)
	if err := c.fs.change(n, cow.Whole); err != nil {
		return 0, c.fs.failed(n, "write", err)
	}
	d, err := c.fs.fileOf(n, in.Fh, true, true)
	if err != nil {
		return 0, c.fs.failed(n, "write", err)
	}
	defer d.release()
	flags := 0
	if n.tree.shared {
		if in.Flags&sys.O_APPEND != 0 {
			flags |= sys.RWF_APPEND
		}
		if in.Flags&sys.O_DSYNC != 0 {
			flags |= sys.RWF_DSYNC
		}
	}
	done, err := c.fs.pwrite(n, d, in, data, flags)
	if err == nil && in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		err = dropSetid(d.fd)
	}
	if err != nil && done == 0 {
		return 0, c.fs.failed(n, "write", err)
	}
	return uint32(done), fuse.OK
}

// pwrite writes data. A store through a mapping reaches us long after, and must
// leave setuid and setgid alone; a write(2) of ours takes them, unless we have
// CAP_FSETID as root has.
func (fs *FS) pwrite(n *node, d *desc, in *fuse.WriteIn, data []byte, flags int) (int, error) {
	write := func() (int, error) { return sys.Pwrite(d.fd, data, int64(in.Offset), flags) }
	if in.WriteFlags&fuse.WRITE_CACHE != 0 && !fs.setid {
		write = func() (int, error) { return keepsSetid(d.fd, data, int64(in.Offset), flags) }
	}
	if in.WriteFlags&fuse.WRITE_CACHE != 0 && fs.writeback() {
		return n.owing(d, write)
	}
	n.forgetMtime()
	return write()
}

// keepsSetid is pwrite(2) by a daemon that it takes setuid and setgid from.
func keepsSetid(fd int, data []byte, off int64, flags int) (int, error) {
	was, err := sys.StatFd(fd)
	if err != nil {
		return 0, err
	}
	done, err := sys.Pwrite(fd, data, off, flags)
	if err == nil && was.Mode&(sys.S_ISUID|sys.S_ISGID) != 0 {
		err = sys.ChmodFd(fd, was.Mode&0o7777)
	}
	return done, err
}

// Writev falls back to Write.
func (c *conn) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Fsync makes data durable; a lower's is.
func (c *conn) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := c.node(in.NodeId)
	if !n.entry.Load().Upper || c.fs.cfg.Volatile && !n.tree.shared {
		return fuse.OK
	}
	d, err := c.fs.syncable(n, in.Fh)
	if err != nil {
		return c.fs.failed(n, "sync", err)
	}
	defer d.release()
	return c.fs.failed(n, "sync", sys.SyncFd(d.fd, in.FsyncFlags&1 != 0))
}

// Lseek finds data and holes.
func (c *conn) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n := c.node(in.NodeId)
	if err := c.fs.fetchWritten(n, int64(in.Offset)); err != nil {
		return c.fs.failed(n, "seek in", err)
	}
	d, err := c.fs.fileOf(n, in.Fh, true, false)
	if err != nil {
		return c.fs.failed(n, "seek in", err)
	}
	defer d.release()
	off, err := sys.Seek(d.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return c.fs.failed(n, "seek in", err)
}

// Fallocate reserves, zeroes or punches.
func (c *conn) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	n := c.node(in.NodeId)
	if err := c.fs.change(n, cow.Whole); err != nil {
		return c.fs.failed(n, "fallocate", err)
	}
	d, err := c.fs.fileOf(n, in.Fh, true, true)
	if err != nil {
		return c.fs.failed(n, "fallocate", err)
	}
	defer d.release()
	err = sys.Fallocate(d.fd, in.Mode, int64(in.Offset), int64(in.Length))
	return c.fs.failed(n, "fallocate", dropSetidFor(in.Uid, d.fd, err))
}

// CopyFileRange copies inside the file system, by reflink where there is one.
func (c *conn) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := c.node(in.NodeId), c.node(in.NodeIdOut)
	if err := c.fs.change(to, cow.Whole); err != nil {
		return 0, c.fs.failed(to, "copy to", err)
	}
	dst, err := c.fs.fileOf(to, in.FhOut, true, true)
	if err != nil {
		return 0, c.fs.failed(to, "copy to", err)
	}
	defer dst.release()
	src, err := c.fs.fileOf(from, in.FhIn, true, false)
	if err != nil {
		return 0, c.fs.failed(from, "copy from", err)
	}
	defer src.release()
	n, err := sys.CopyRange(src.fd, int64(in.OffIn), dst.fd, int64(in.OffOut), int(min(in.Len, 1<<30)))
	return uint32(n), c.fs.failed(to, "copy to", dropSetidFor(in.Uid, dst.fd, err))
}
