package unionfs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Unlink removes a name that is no directory.
func (c *conn) Unlink(_ <-chan struct{}, in *fuse.InHeader, nm string) fuse.Status {
	return c.fs.status(c.fs.unlink(c.node(in.NodeId), nm))
}

// Rmdir removes an empty directory.
func (c *conn) Rmdir(_ <-chan struct{}, in *fuse.InHeader, nm string) fuse.Status {
	return c.fs.status(c.fs.rmdir(c.node(in.NodeId), nm))
}

// mayRemove makes sure that names in dir may be removed, and that nm is no volume's target.
func (fs *FS) mayRemove(dir *node, nm string) error {
	if dir.routes[nm] != nil {
		return sys.EBUSY
	}
	return fs.change(dir, cow.Whole)
}

func (fs *FS) unlink(dir *node, nm string) error {
	if err := fs.mayRemove(dir, nm); err != nil {
		return err
	}
	return fs.withName(dir, nm, func(s side) error {
		switch {
		case s.n.entry.Load().IsDir():
			return sys.EISDIR
		case s.n.indexFirst():
			return errIndexFirst
		}
		return fs.unlinkLocked(s)
	})
}

// unlinkLocked removes a name. Caller holds renameMu and dirMu.
func (fs *FS) unlinkLocked(s side) error {
	n := s.n
	if err := fs.fixedLocked(n); err != nil {
		return err
	}
	if n.entry.Load().Index() != "" {
		fs.countMu.Lock()
		defer fs.countMu.Unlock()
		if err := fs.linkUp(n, s.dir, s.at, s.name.name); err != nil {
			return err
		}
		s.inUpper = true
	}
	last := fs.table.known(n) <= 1 && n.entry.Load().Index() == ""
	if last {
		if err := fs.keep(n); err != nil {
			return err
		}
	}
	if err := s.dir.tree.writer.Unlink(s.at, s.name.name, s.inUpper, s.inLower); err != nil {
		return err
	}
	return fs.nameGone(n, s.dir, s.name.name)
}

// fixed returns EPERM for what lies in a lower and is immutable there: no name of
// it may go, as below. A copy-up of it is refused too (cow.StageCopy).
func (fs *FS) fixed(n *node) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	return fs.fixedLocked(n)
}

// fixedLocked is fixed for a caller that holds renameMu.
func (fs *FS) fixedLocked(n *node) error {
	e := n.entry.Load()
	if e.Upper || e.Lowers() == 0 {
		return nil
	}
	return fs.reachLocked(n, func(dir int, name string) error {
		if sys.Immutable(dir, name) {
			return sys.EPERM
		}
		return nil
	})
}

// nameGone ends the removal of a name: an object without names is let go of.
func (fs *FS) nameGone(n, dir *node, nm string) error {
	fs.table.mu.Lock()
	left := fs.table.dropName(n, dir, nm)
	fs.table.mu.Unlock()
	e := n.entry.Load()
	if e.Index() != "" {
		return fs.indexedNameGone(n, e)
	}
	if left > 0 {
		return nil
	}
	n.use().is.set(gone)
	if pin := n.pin.Load(); pin >= 0 {
		// Names that nobody has looked up yet may be left; the number then stays this object's.
		if st, err := sys.StatAt(int(pin), ""); err == nil && st.Nlink > 0 && !e.IsDir() {
			return nil
		}
		fs.table.detach(n)
	}
	return nil
}

// indexedNameGone drops the index entry of an object that lost its last name in the union.
func (fs *FS) indexedNameGone(n *node, e *layers.Entry) error {
	st, err := fs.statIndexed(n, e)
	if err != nil || st.Nlink > 0 {
		return err
	}
	fd, err := n.tree.stack.Index.PathFd(e.Index())
	if err != nil {
		return err
	}
	n.pin.Store(int32(fd))
	n.amend((*layers.Entry).DropIndex)
	n.use().is.set(gone)
	fs.table.detach(n)
	return n.tree.writer.DropIndex(e.Index())
}

func (fs *FS) rmdir(dir *node, nm string) error {
	if err := fs.mayRemove(dir, nm); err != nil {
		return err
	}
	return fs.withName(dir, nm, func(s side) error {
		if !s.n.entry.Load().IsDir() {
			return sys.ENOTDIR
		}
		return fs.rmdirLocked(s)
	})
}

// rmdirLocked removes a directory if the union shows it empty. Caller holds renameMu and the parent's dirMu.
func (fs *FS) rmdirLocked(s side) error {
	n := s.n
	n.dirMu.Lock() // nobody makes a name in it from here on
	defer n.dirMu.Unlock()
	err := fs.empty(n, layers.Join(s.at, s.name.name))
	// A plain user's daemon can't look into what its mode closes to him. If upper alone has it, upper's rmdir tells.
	sealed := errors.Is(err, sys.EACCES) && !s.inLower && !n.entry.Load().HasLower()
	if err != nil && !sealed {
		return err
	}
	if err := fs.fixedLocked(n); err != nil {
		return err
	}
	if err := fs.keep(n); err != nil {
		return err
	}
	if sealed {
		err = s.dir.tree.writer.RmdirSealed(s.at, s.name.name)
	} else {
		err = s.dir.tree.writer.Rmdir(s.at, s.name.name, s.inUpper, s.inLower)
	}
	if err != nil {
		return err
	}
	return fs.nameGone(n, s.dir, s.name.name)
}

var errNotEmpty = errors.New("a name was found")

// empty returns ENOTEMPTY if the union shows a name in the directory n, which upper has at p.
func (fs *FS) empty(n *node, p string) error {
	if len(n.routes) > 0 {
		return sys.ENOTEMPTY
	}
	err := n.tree.stack.List(n.entry.Load(), p, func(layers.Name) error { return errNotEmpty })
	if errors.Is(err, errNotEmpty) {
		return sys.ENOTEMPTY
	}
	return err
}
