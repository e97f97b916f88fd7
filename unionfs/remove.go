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

// withName calls f with what nm in dir is and dir's path, while nobody changes names in dir.
func (fs *FS) withName(dir *node, nm string, f func(n *node, at string) error) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.Lock()
	defer dir.dirMu.Unlock()
	n, _, err := fs.lookupLocked(dir, nm, true)
	if err != nil {
		return err
	}
	defer fs.letGo(n)
	at, ok := fs.table.path(dir)
	if !ok {
		return sys.ENOENT
	}
	return f(n, at)
}

func (fs *FS) unlink(dir *node, nm string) error {
	if err := fs.mayRemove(dir, nm); err != nil {
		return err
	}
	if err := fs.indexFirst(dir, nm); err != nil {
		return err
	}
	return fs.withName(dir, nm, func(n *node, at string) error {
		if n.entry.Load().IsDir() {
			return sys.EISDIR
		}
		return fs.unlinkLocked(n, dir, at, nm)
	})
}

// indexFirst copies a hard link that only lowers have into the index before one
// of its names goes or comes: the count of names is kept there.
func (fs *FS) indexFirst(dir *node, nm string) error {
	n, _, err := fs.lookup(dir, nm, true)
	if err != nil {
		return err
	}
	defer fs.letGo(n)
	e := n.entry.Load()
	if e.Upper || e.IsDir() || e.Stat.Nlink < 2 || n.tree.stack.Index == nil {
		return nil
	}
	return fs.ensureUpper(n, cow.Whole)
}

// unlinkLocked removes a name that leads to n. Caller holds renameMu and dirMu.
func (fs *FS) unlinkLocked(n, dir *node, at, nm string) error {
	t := dir.tree
	if err := fs.fixed(n); err != nil {
		return err
	}
	inUpper, whiteout, err := fs.presence(dir, at, nm)
	if err != nil {
		return err
	}
	if n.entry.Load().Index() != "" {
		if err := fs.linkUp(n, dir, at, nm); err != nil {
			return err
		}
		inUpper = true
	}
	last := fs.table.known(n) <= 1 && n.entry.Load().Index() == ""
	if last {
		if err := fs.keep(n); err != nil {
			return err
		}
	}
	if err := t.writer.Unlink(at, nm, inUpper, whiteout); err != nil {
		return err
	}
	return fs.nameGone(n, dir, nm)
}

// fixed returns EPERM for what lies in a lower and is immutable there: no name of
// it may go, as below. A copy-up of it is refused too (cow.StageCopy).
func (fs *FS) fixed(n *node) error {
	e := n.entry.Load()
	if e.Upper || e.Lowers() == 0 {
		return nil
	}
	fd, err := fs.pathFdLocked(n)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if sys.Immutable(fd) {
		return sys.EPERM
	}
	return nil
}

// presence tells whether upper has nm and whether a lower shows it. Caller holds renameMu and dirMu.
func (fs *FS) presence(dir *node, at, nm string) (inUpper, inLower bool, err error) {
	s := dir.tree.stack
	if inLower, err = s.LowerHas(dir.entry.Load(), nm); err != nil {
		return false, false, err
	}
	st, err := s.Upper.Stat(layers.Join(at, nm))
	if err == sys.ENOENT {
		return false, inLower, nil
	}
	return err == nil && (s.Plain || !layers.IsWhiteout(&st)), inLower, err
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
	n.use().gone.Store(true)
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
	st, err := n.tree.stack.Index.Stat(e.Index())
	if err != nil {
		return err
	}
	if st, err = fs.countNames(n, e, st); err != nil || st.Nlink > 0 {
		return err
	}
	fd, err := n.tree.stack.Index.PathFd(e.Index())
	if err != nil {
		return err
	}
	n.pin.Store(int32(fd))
	n.amend((*layers.Entry).DropIndex)
	n.use().gone.Store(true)
	fs.table.detach(n)
	return n.tree.writer.DropIndex(e.Index())
}

func (fs *FS) rmdir(dir *node, nm string) error {
	if err := fs.mayRemove(dir, nm); err != nil {
		return err
	}
	return fs.withName(dir, nm, func(n *node, at string) error {
		if !n.entry.Load().IsDir() {
			return sys.ENOTDIR
		}
		return fs.rmdirLocked(n, dir, at, nm)
	})
}

// rmdirLocked removes the directory n if the union shows it empty. Caller holds renameMu and dir's dirMu.
func (fs *FS) rmdirLocked(n, dir *node, at, nm string) error {
	n.dirMu.Lock() // nobody makes a name in it from here on
	defer n.dirMu.Unlock()
	if err := fs.empty(n, layers.Join(at, nm)); err != nil {
		return err
	}
	if err := fs.fixed(n); err != nil {
		return err
	}
	inUpper, whiteout, err := fs.presence(dir, at, nm)
	if err != nil {
		return err
	}
	if err := fs.keep(n); err != nil {
		return err
	}
	if err := dir.tree.writer.Rmdir(at, nm, inUpper, whiteout); err != nil {
		return err
	}
	return fs.nameGone(n, dir, nm)
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
