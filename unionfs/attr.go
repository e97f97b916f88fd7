package unionfs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers/sys"
)

// forever is how long the kernel keeps what only we can change.
const forever = 365 * 24 * time.Hour

// validity is how long names and attributes of a tree stay true.
func (fs *FS) validity(t *tree) time.Duration {
	switch {
	case t.shared || fs.cfg.Coherent:
		return 0
	case fs.cfg.Timeout > 0:
		return fs.cfg.Timeout
	}
	return forever
}

// ours tells whether names of a tree change, and change by us alone.
func (fs *FS) ours(t *tree) bool { return t.writer != nil && fs.validity(t) == forever }

func (n *node) fillAttr(st *sys.Stat, out *fuse.Attr) {
	out.Ino = n.ino()
	out.Size = uint64(st.Size)
	out.Blocks = uint64(st.Blocks)
	out.Atime, out.Atimensec = uint64(st.Atim.Sec), uint32(st.Atim.Nsec)
	out.Mtime, out.Mtimensec = uint64(st.Mtim.Sec), uint32(st.Mtim.Nsec)
	if at, owed := n.shownMtime(); owed {
		out.Mtime, out.Mtimensec = uint64(at.Sec), uint32(at.Nsec)
	}
	out.Ctime, out.Ctimensec = uint64(st.Ctim.Sec), uint32(st.Ctim.Nsec)
	out.Mode = st.Mode
	out.Nlink = uint32(st.Nlink)
	out.Uid, out.Gid = st.Uid, st.Gid
	out.Rdev = uint32(sys.Major(st.Rdev)&0xfff<<8 | sys.Minor(st.Rdev)&0xff | sys.Minor(st.Rdev)&^0xff<<12)
	out.Blksize = uint32(st.Blksize)
}

func (fs *FS) fillEntry(n *node, st *sys.Stat, out *fuse.EntryOut) {
	v := fs.validity(n.tree)
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(v)
	out.SetAttrTimeout(v)
	n.fillAttr(st, &out.Attr)
}

// fillFound is fillEntry for what a name in dir leads to. A route's name is
// ours for as long as the mount lives, whatever the host does to the tree behind it:
// asked anew each time, it would cost every path below a bind a request.
func (fs *FS) fillFound(dir, n *node, st *sys.Stat, out *fuse.EntryOut) {
	fs.fillEntry(n, st, out)
	if n.tree != dir.tree {
		out.SetEntryTimeout(fs.validity(fs.union))
	}
}

// GetAttr answers stat(2) and fstat(2).
func (c *conn) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := c.node(in.NodeId)
	if status := n.reportLost(in); !status.Ok() {
		return status
	}
	st, err := c.fs.stat(n)
	if err != nil {
		return c.fs.failed(n, "stat", err)
	}
	out.SetTimeout(c.fs.validity(n.tree))
	n.fillAttr(&st, &out.Attr)
	return fuse.OK
}

// SetAttr answers chmod, chown, utimensat, truncate and ftruncate.
func (c *conn) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := c.node(in.NodeId)
	st, err := c.fs.setAttr(n, in)
	if err != nil {
		return c.fs.failed(n, "change attributes of", err)
	}
	out.SetTimeout(c.fs.validity(n.tree))
	n.fillAttr(&st, &out.Attr)
	return fuse.OK
}

// setAttr changes what in says and tells what n has then.
func (fs *FS) setAttr(n *node, in *fuse.SetAttrIn) (sys.Stat, error) {
	if st, ok := fs.putsOff(n, in); ok {
		return st, nil
	}
	if fs.flushesNothing(n, in) {
		n.flushedMtime(mtimeOf(in))
	} else if err := fs.changeAttr(n, in); err != nil {
		return sys.Stat{}, err
	}
	return fs.stat(n)
}

func (fs *FS) changeAttr(n *node, in *fuse.SetAttrIn) error {
	const others = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_ATIME | fuse.FATTR_MTIME
	nothing := in.Valid&(others|fuse.FATTR_SIZE) == 0
	limit := cow.NoData
	switch {
	case in.Valid&fuse.FATTR_SIZE != 0:
		limit = int64(in.Size)
	case nothing: // a write follows
		limit = cow.Whole
	}
	if err := fs.change(n, limit); err != nil {
		return err
	}
	if err := fs.settle(n, in); err != nil {
		return err
	}
	if in.Valid&fuse.FATTR_SIZE != 0 {
		if err := fs.truncate(n, in); err != nil {
			return err
		}
	}
	if in.Valid&others == 0 && !nothing {
		return nil
	}
	if in.Valid&fuse.FATTR_MODE != 0 {
		fs.holdFor(n, in.Mode)
	}
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) != 0 || n.entry.Load().Data() != nil {
		n.use().copyMu.Lock() // against pwrite, and against complete, which puts back what it found
		defer n.use().copyMu.Unlock()
	}
	return fs.reachKept(n, func(dir int, base string) error {
		if n.entry.Load().Index() != "" { // against the writer, see cow.Writer.SetCount
			fs.countMu.Lock()
			defer fs.countMu.Unlock()
		}
		if nothing {
			return n.dropPrivileges(dir, base, in.Uid)
		}
		if in.Valid&fuse.FATTR_MTIME != 0 && fs.writeback() {
			return n.settingMtime(mtimeOf(in), func() error { return setOthers(dir, base, in) })
		}
		return setOthers(dir, base, in)
	})
}

// setOthers changes owner, mode and times.
func setOthers(dir int, base string, in *fuse.SetAttrIn) error {
	if in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		if err := sys.ChownAt(dir, base, owner(in.Valid&fuse.FATTR_UID, in.Uid), owner(in.Valid&fuse.FATTR_GID, in.Gid)); err != nil {
			return err
		}
	}
	if in.Valid&fuse.FATTR_MODE != 0 {
		if err := sys.ChmodAt(dir, base, in.Mode&0o7777); err != nil {
			return err
		}
	}
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) != 0 {
		return sys.UtimesAt(dir, base,
			timeOf(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec), mtimeOf(in))
	}
	return nil
}

// change makes sure that n may be changed: that it lies in an upper.
func (fs *FS) change(n *node, limit int64) error {
	if n.tree.writer == nil {
		return sys.EROFS
	}
	return fs.ensureUpper(n, limit)
}

// holdOpen opens what handles of the kernel may need before a new mode keeps a
// daemon without CAP_DAC_OVERRIDE from opening it. A failure shows when the handle is used.
func (fs *FS) holdOpen(n *node) {
	data := &n.use().data
	data.mu.Lock()
	opens := data.opens
	data.mu.Unlock()
	if opens == 0 || n.tree.shared {
		return
	}
	for _, write := range [...]bool{true, false} {
		if d, err := fs.file(n, write); err == nil {
			d.release()
		}
	}
}

// holdFor opens, before n gets a new mode, what that would close to a plain user's daemon.
func (fs *FS) holdFor(n *node, mode uint32) {
	fs.holdOpen(n)
	if n.dirPart != nil && mode&0o100 == 0 {
		fs.holdHandles(n.tree)
	}
}

// holdHandles opens what the kernel has open of a tree before a directory of it is
// closed: a plain user's daemon isn't let in any more, and what is open stays usable.
func (fs *FS) holdHandles(t *tree) {
	for _, n := range fs.handles.nodes() {
		if n.tree == t {
			fs.holdOpen(n)
		}
	}
}

func owner(given, id uint32) int {
	if given == 0 {
		return -1
	}
	return int(id)
}

func mtimeOf(in *fuse.SetAttrIn) sys.Timespec {
	return timeOf(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec)
}

func timeOf(valid, given, now uint32, sec uint64, nsec uint32) sys.Timespec {
	switch {
	case valid&given == 0:
		return sys.Timespec{Nsec: sys.UTIME_OMIT}
	case valid&now != 0:
		return sys.Timespec{Nsec: sys.UTIME_NOW}
	}
	return sys.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}

func (fs *FS) truncate(n *node, in *fuse.SetAttrIn) error {
	d, err := fs.fileOf(n, in.Fh, in.Valid&fuse.FATTR_FH != 0, true)
	if err != nil {
		return err
	}
	defer d.release()
	if err := fs.keepsMtime(n, in, d.fd, func() error { return sys.Truncate(d.fd, int64(in.Size)) }); err != nil {
		return err
	}
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		return dropSetid(d.fd)
	}
	return nil
}

// dropPrivileges answers a request for no change. The kernel sends it for
// chown(-1, -1), which takes setuid and setgid away, and also, just after it
// removed a file's capabilities, before a write (file_remove_privs, notify_change).
// Both take them away, but for a write by root (CAP_FSETID).
func (n *node) dropPrivileges(dir int, base string, uid uint32) error {
	if n.use().is.clear(capsGone) && uid == 0 {
		return nil
	}
	return sys.ChownAt(dir, base, -1, -1)
}

// dropSetidFor does it for a request that doesn't say whether it must be done:
// an ordinary user has no CAP_FSETID.
func dropSetidFor(uid uint32, fd int, err error) error {
	if err != nil || uid == 0 {
		return err
	}
	return dropSetid(fd)
}

// dropSetid takes away setuid, and setgid from a file that its group may run:
// what the kernel does at a write by an ordinary user, which we are not
// (setattr_should_drop_suidgid).
func dropSetid(fd int) error {
	st, err := sys.StatFd(fd)
	if err != nil {
		return err
	}
	mode := st.Mode & 0o7777 &^ sys.S_ISUID
	if st.Mode&0o010 != 0 {
		mode &^= sys.S_ISGID
	}
	if mode == st.Mode&0o7777 {
		return nil
	}
	return sys.ChmodFd(fd, mode)
}

// Access is answered by the kernel itself (default_permissions).
func (c *conn) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Statx falls back to GetAttr.
func (c *conn) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status { return fuse.ENOSYS }

// StatFs describes the file system that takes what is written: the upper's, or the volume's.
func (c *conn) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	t := c.fs.union
	if n := c.fs.table.get(in.NodeId); n != nil {
		t = n.tree
	}
	st, err := t.statfs()
	if err != nil {
		return c.fs.status(err)
	}
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Bfree, st.Bavail
	out.Files, out.Ffree = st.Files, st.Ffree
	out.Bsize, out.NameLen, out.Frsize = uint32(st.Bsize), uint32(st.Namelen), uint32(st.Frsize)
	return fuse.OK
}

// statfs describes the file system of the upper, or of the topmost lower where there is no upper.
func (t *tree) statfs() (st sys.Statfs, err error) {
	l := t.stack.Upper
	if l == nil {
		l = t.stack.Lowers[0]
	}
	d, err := l.Dir("")
	if err != nil {
		return st, err
	}
	defer d.Release()
	return sys.StatfsFd(d.Fd)
}
