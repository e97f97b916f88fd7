package unionfs

import (
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// retries bounds how often a name is derived anew when it vanished in between.
const retries = 16

// pathFd returns an O_PATH descriptor of n's object. The caller holds no lock.
func (fs *FS) pathFd(n *node) (fd int, err error) { return opened(n, fs.reach) }

// pathFdLocked is pathFd as reachLocked has it.
func (fs *FS) pathFdLocked(n *node) (fd int, err error) { return opened(n, fs.reachLocked) }

func opened(n *node, reach func(*node, func(dir int, base string) error) error) (fd int, err error) {
	err = reach(n, func(dir int, base string) (err error) {
		if base == "" {
			fd, err = sys.Dup(dir)
		} else {
			fd, err = sys.PathAt(dir, base)
		}
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// reopen opens n's object with flags. The caller holds no lock.
func (fs *FS) reopen(n *node, flags int) (int, error) {
	p, err := fs.pathFd(n)
	if err != nil {
		return -1, err
	}
	defer sys.Close(p)
	return sys.Reopen(p, flags)
}

// reach calls use with a directory and the name of n's object in it ("." is the directory itself) or, for an object
// without a name, with its descriptor and "". Nobody gives the name to another object meanwhile. The caller holds no lock.
func (fs *FS) reach(n *node, use func(dir int, base string) error) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	for range retries {
		at, named := fs.table.place(n)
		if !named {
			break
		}
		at.dir.dirMu.RLock()
		if fs.table.has(n, at.dir, at.name) {
			defer at.dir.dirMu.RUnlock()
			break
		}
		at.dir.dirMu.RUnlock()
	}
	return fs.reachLocked(n, use)
}

// reachLocked is reach for a caller that holds renameMu, and the directory's dirMu if the name must stay n's.
func (fs *FS) reachLocked(n *node, use func(dir int, base string) error) (err error) {
	for try := range retries {
		if pin, ok := n.pinned(); ok {
			return use(pin, "")
		}
		e := n.entry.Load()
		switch {
		case e.Index() != "":
			return n.tree.stack.Index.At(e.Index(), use)
		case !e.Upper && e.HasLower():
			low := e.Lower()
			return n.tree.stack.Lowers[low.Layer].At(low.Path, use)
		case !e.Upper:
			return sys.ENOENT // a directory that exists only for a route
		}
		p, ok := fs.table.path(n)
		if !ok {
			if n.pin.Load() < 0 {
				return sys.ESTALE
			}
			continue
		}
		err = n.tree.stack.Upper.At(p, use)
		if err != sys.ENOENT && !fs.tryOther(n, err, try) {
			return fs.reachOpen(n, err, use)
		}
	}
	return err
}

// reachOpen is the last way of reach, to an open file whose names lie in directories that are closed to a plain
// user's daemon (holdHandles). It returns err if there is none.
func (fs *FS) reachOpen(n *node, err error, use func(dir int, base string) error) error {
	u := n.used.Load()
	if err != sys.EACCES || u == nil {
		return err
	}
	d := u.data.any()
	if d == nil {
		return err
	}
	defer d.release()
	return use(d.fd, "")
}

// reachKept is reach, by the descriptor that n keeps for writing if it has one: no name has to be resolved.
func (fs *FS) reachKept(n *node, use func(dir int, base string) error) error {
	d := n.kept()
	if d == nil {
		return fs.reach(n, use)
	}
	defer d.release()
	return use(d.fd, "")
}

// pinned is the descriptor of an object without names, if it has one. A directory may still be being destroyed.
func (n *node) pinned() (fd int, ok bool) {
	pin := n.pin.Load()
	if pin >= 0 && n.dirPart != nil && n.tree.writer != nil {
		n.tree.writer.Settle()
	}
	return int(pin), pin >= 0
}

// kept returns the descriptor for writing that the node of an upper's object keeps, or nil; the caller releases it.
// A volume's file may be replaced by the host: there a name is what counts.
func (n *node) kept() *desc {
	u := n.used.Load()
	if u == nil || n.tree.shared {
		return nil
	}
	return u.data.take(true)
}

// stat stats n's object and counts its names as the union has them.
func (fs *FS) stat(n *node) (sys.Stat, error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	return fs.statLocked(n)
}

// statLocked is stat for a caller that holds renameMu.
func (fs *FS) statLocked(n *node) (st sys.Stat, err error) {
	if n.tree.shared {
		if st, ok := fs.statOpen(n); ok {
			return st, nil
		}
	}
	if e := n.entry.Load(); e.Index() == "" {
		if d := n.kept(); d != nil {
			defer d.release()
			if st, err = sys.StatFd(d.fd); err != nil {
				return st, err
			}
			return fs.countNames(n, e, st)
		}
	}
	for try := range retries {
		if pin, ok := n.pinned(); ok {
			return sys.StatAt(pin, "")
		}
		e := n.entry.Load()
		switch {
		case e.Index() != "":
			fs.countMu.Lock()
			defer fs.countMu.Unlock()
			return fs.statIndexed(n, e)
		case !e.Upper:
			return fs.countNames(n, e, e.Stat.Full())
		}
		p, ok := fs.table.path(n)
		if !ok {
			if n.pin.Load() < 0 {
				return st, sys.ESTALE
			}
			continue
		}
		if st, err = n.tree.stack.Upper.Stat(p); err == nil {
			return fs.countNames(n, e, st)
		}
		if err != sys.ENOENT && !fs.tryOther(n, err, try) {
			err = fs.reachOpen(n, err, func(fd int, _ string) (err error) {
				st, err = sys.StatAt(fd, "")
				return err
			})
			return st, err
		}
	}
	return st, err
}

// statIndexed is stat of an indexed object. Caller holds renameMu, and countMu or renameMu for writing.
func (fs *FS) statIndexed(n *node, e *layers.Entry) (sys.Stat, error) {
	st, err := n.tree.stack.Index.Stat(e.Index())
	if err != nil {
		return st, err
	}
	return fs.countNames(n, e, st)
}

// tryOther tells whether n may be reached by another of its names: a plain user's
// daemon is not let into a directory that its owner closed, and the caller came by
// a name in an open one. Each name is tried once, up to the bound of retries.
func (fs *FS) tryOther(n *node, err error, try int) bool {
	return err == sys.EACCES && fs.table.turn(n, try)
}

// countNames sets the link count that the union shows. The caller holds countMu if e is indexed.
func (fs *FS) countNames(n *node, e *layers.Entry, st sys.Stat) (sys.Stat, error) {
	if data := e.Data(); data != nil && data.Err == nil {
		st.Blocks = data.Blocks
	}
	switch {
	case e.IsDir():
		// Counting the directories of a merged one isn't worth it: 1 says "not counted" (ovl_getattr).
		if e.Lowers() > 1 || e.Upper && e.HasLower() || n.routes != nil || fs.cfg.StaticNlink {
			st.Nlink = 1
		}
	case e.Index() != "":
		count, err := fs.union.stack.Index.Nlink(e.Index(), &st, func() (uint64, error) { return fs.lowerNlink(e) })
		if err != nil {
			return st, err
		}
		st.Nlink = count
	case !e.Upper && n != nil && n.isGone():
		st.Nlink = 0
	}
	return st, nil
}

// lowerNlink is the link count of the lower object that e was copied from.
func (fs *FS) lowerNlink(e *layers.Entry) (uint64, error) {
	if !e.HasLower() {
		return 0, sys.EIO
	}
	low := e.Lower()
	st, err := fs.union.stack.Lowers[low.Layer].Stat(low.Path)
	return uint64(st.Nlink), err
}

// amend replaces n's entry by a changed copy.
func (n *node) amend(change func(e *layers.Entry)) *layers.Entry {
	for {
		old := n.entry.Load()
		next := *old
		change(&next)
		if n.entry.CompareAndSwap(old, &next) {
			return &next
		}
	}
}

// keep pins n's object before its last known name goes. The caller holds the
// name's directory, so that nobody derives a path in between.
func (fs *FS) keep(n *node) error {
	if n.pin.Load() >= 0 || !n.entry.Load().Upper {
		return nil // pinned already, or a lower object, which stays where it is
	}
	fd, err := fs.pathFdLocked(n)
	if err != nil {
		return err
	}
	if !n.pin.CompareAndSwap(-1, int32(fd)) {
		return sys.Close(fd)
	}
	return nil
}
