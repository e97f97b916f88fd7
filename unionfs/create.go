package unionfs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Mknod makes a special file and, where the kernel sends no CREATE, a regular one.
func (c *conn) Mknod(_ <-chan struct{}, in *fuse.MknodIn, nm string, out *fuse.EntryOut) fuse.Status {
	rdev := sys.Mkdev(in.Rdev>>8&0xfff, in.Rdev&0xff|in.Rdev>>12&0xfff00)
	return c.create(&in.InHeader, nm, cow.New{Mode: in.Mode, Umask: in.Umask, Rdev: rdev}, out)
}

// Mkdir makes a directory.
func (c *conn) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, nm string, out *fuse.EntryOut) fuse.Status {
	return c.create(&in.InHeader, nm, cow.New{Mode: in.Mode&0o7777 | sys.S_IFDIR, Umask: in.Umask}, out)
}

// Symlink makes a symbolic link.
func (c *conn) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, nm string, out *fuse.EntryOut) fuse.Status {
	return c.create(in, nm, cow.New{Mode: sys.S_IFLNK | 0o777, Target: target}, out)
}

func (c *conn) create(in *fuse.InHeader, nm string, what cow.New, out *fuse.EntryOut) fuse.Status {
	n, st, d, err := c.fs.create(c.node(in.NodeId), nm, in, what)
	if err != nil {
		return c.fs.status(err)
	}
	d.release()
	c.fs.fillEntry(n, &st, out)
	return fuse.OK
}

// Create makes and opens a regular file; without OPEN the kernel is told to use MKNOD.
func (c *conn) Create(_ <-chan struct{}, in *fuse.CreateIn, nm string, out *fuse.CreateOut) fuse.Status {
	if c.fs.cfg.IO == IOCached {
		return fuse.ENOSYS
	}
	dir := c.node(in.NodeId)
	n, st, d, err := c.fs.create(dir, nm, &in.InHeader, cow.New{Mode: in.Mode&0o7777 | sys.S_IFREG, Umask: in.Umask})
	if errors.Is(err, sys.EEXIST) && in.Flags&sys.O_EXCL == 0 && dir.tree.shared {
		n, st, d, err = c.fs.openMade(dir, nm, in.Flags) // by another mount, after our lookup
	}
	if err != nil {
		return c.fs.status(err)
	}
	c.fs.fillEntry(n, &st, &out.EntryOut)
	c.fs.openNew(n, d, &out.OpenOut)
	return fuse.OK
}

// openMade opens a volume's file that another has made meanwhile; the node is counted.
func (fs *FS) openMade(dir *node, nm string, flags uint32) (*node, sys.Stat, *desc, error) {
	n, st, err := fs.lookup(dir, nm, true)
	if err != nil {
		return nil, st, nil, err
	}
	d, err := fs.openShared(n, flags)
	if err != nil {
		fs.letGo(n)
	}
	return n, st, d, err
}

// Tmpfile makes a file without a name (O_TMPFILE).
func (c *conn) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	n, st, d, err := c.fs.tmpfile(c.node(in.NodeId), &in.InHeader, cow.New{Mode: in.Mode&0o7777 | sys.S_IFREG, Umask: in.Umask, Tmpfile: true})
	if err != nil {
		return c.fs.status(err)
	}
	c.fs.fillEntry(n, &st, &out.EntryOut)
	c.fs.openNew(n, d, &out.OpenOut)
	return fuse.OK
}

// create makes nm in dir and returns its node, counted, with a descriptor of it.
func (fs *FS) create(dir *node, nm string, in *fuse.InHeader, what cow.New) (*node, sys.Stat, *desc, error) {
	what.Uid, what.Gid = in.Uid, in.Gid
	if !dir.tree.stack.Plain && what.Mode&sys.S_IFMT == layers.WhiteoutMode && what.Rdev == layers.WhiteoutDev {
		return nil, sys.Stat{}, nil, sys.EPERM // it would be a whiteout (ovl_mknod)
	}
	if err := fs.changeDir(dir, nm); err != nil {
		return nil, sys.Stat{}, nil, err
	}
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.Lock()
	defer dir.dirMu.Unlock()
	at, hides, err := fs.vacant(dir, nm)
	if err != nil {
		return nil, sys.Stat{}, nil, err
	}
	what.Hides = hides
	fd, err := dir.tree.writer.Create(at, nm, what)
	if err != nil {
		return nil, sys.Stat{}, nil, err
	}
	return fs.adopt(dir, nm, fd, what.Mode&sys.S_IFMT == sys.S_IFREG)
}

// changeDir makes sure that names in dir may be changed, before any lock is taken.
func (fs *FS) changeDir(dir *node, names ...string) error {
	for _, nm := range names {
		switch {
		case len(nm) > 255:
			return sys.ENAMETOOL
		case layers.IsReserved(nm) && !dir.tree.stack.Plain:
			return sys.EINVAL // it would be a whiteout to every reader of layers
		}
	}
	return fs.change(dir, cow.Whole)
}

// vacant makes sure that nm is free in dir and tells dir's path and whether
// a whiteout, and so what lies below it, is hidden by what comes. Caller holds renameMu and dirMu.
func (fs *FS) vacant(dir *node, nm string) (at string, hides bool, err error) {
	if at, err = fs.dirPath(dir); err != nil {
		return "", false, err
	}
	if dir.routes[nm] != nil {
		return "", false, sys.EEXIST
	}
	if dir.tree.shared {
		return at, false, nil // the file system says EEXIST itself
	}
	if fs.ours(dir.tree) {
		if hides, ok := dir.stillAbsent(nm); ok {
			return at, hides, nil
		}
	}
	_, hides, err = dir.tree.stack.Find(dir.entry.Load(), at, nm)
	switch err {
	case nil:
		return at, false, sys.EEXIST
	case sys.ENOENT:
		return at, hides, nil
	}
	return at, false, err
}

// adopt gives the object just made as nm its node. It takes over fd.
func (fs *FS) adopt(dir *node, nm string, fd int, regular bool) (*node, sys.Stat, *desc, error) {
	d := newDesc(fd, true, regular)
	st, err := fs.statNew(fd, regular && !dir.tree.shared)
	if err != nil {
		d.release()
		return nil, st, nil, err
	}
	s := dir.tree.stack
	e := &layers.Entry{Upper: true, Stat: layers.Compact(&st), Ino: s.IDs.Number(st.Dev, st.Ino)}
	n := fs.table.intern(dir, nm, e, true)
	if regular && !dir.tree.shared {
		n.use().is.set(bare)
		if sys.AccessMode(fd) == sys.O_RDWR {
			fs.retain(n, e, d)
		}
	}
	st, err = fs.countNames(n, e, st)
	return n, st, d, err
}

// tmpfile makes a file without a name in the directory dir.
func (fs *FS) tmpfile(dir *node, in *fuse.InHeader, what cow.New) (*node, sys.Stat, *desc, error) {
	what.Uid, what.Gid = in.Uid, in.Gid
	if err := fs.change(dir, cow.Whole); err != nil {
		return nil, sys.Stat{}, nil, err
	}
	fs.renameMu.RLock()
	at, ok := fs.table.path(dir)
	if !ok {
		fs.renameMu.RUnlock()
		return nil, sys.Stat{}, nil, sys.ENOENT
	}
	fd, err := dir.tree.writer.Create(at, "", what)
	fs.renameMu.RUnlock()
	if err != nil {
		return nil, sys.Stat{}, nil, err
	}
	d := newDesc(fd, true, true)
	st, err := sys.StatFd(fd)
	pin := -1
	if err == nil {
		pin, err = sys.Dup(fd)
	}
	if err != nil {
		d.release()
		return nil, st, nil, err
	}
	e := &layers.Entry{Upper: true, Stat: layers.Compact(&st), Ino: dir.tree.stack.IDs.Number(st.Dev, st.Ino)}
	n := fs.table.addNameless(dir.tree, e, pin)
	if !dir.tree.shared {
		fs.retain(n, e, d)
	}
	return n, st, d, nil
}

// addNameless makes the node, counted, of an object that only pin leads to.
func (t *table) addNameless(tr *tree, e *layers.Entry, pin int) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.add(tr, e)
	n.pin.Store(int32(pin))
	n.use().is.set(gone)
	n.lookups = 1
	return n
}
