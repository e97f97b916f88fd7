package unionfs

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// ensureUpper makes sure that upper has n's object, data and all, whole or cut to
// limit bytes: the one door to copy-up. With cow.NoData a metacopy will do, where the upper may have them. Its parents
// come first. EROFS: there is no upper. The caller holds no lock.
func (fs *FS) ensureUpper(n *node, limit int64) error {
	if limit == cow.NoData && !fs.cfg.Metacopy {
		limit = cow.Whole
	}
	if has(n.entry.Load(), limit) {
		return nil
	}
	w := n.tree.writer
	if w == nil {
		return sys.EROFS
	}
	if err := fs.ensureParents(n); err != nil {
		return err
	}
	n.use().copyMu.Lock()
	defer n.use().copyMu.Unlock()
	e := n.entry.Load()
	switch {
	case has(e, limit):
		return nil
	case e.Upper:
		return fs.complete(n, e.Data(), limit)
	case !e.HasLower():
		return fs.makeRouteDir(n, e)
	}
	staged, err := w.StageCopy(n.tree.stack, e.Lower(), limit)
	if err != nil {
		return n.explained(err)
	}
	defer staged.Close()
	if err := fs.publish(n, e, staged); err != nil {
		return fmt.Errorf("publish the copy of %q: %w", e.Lower().Path, err)
	}
	if e.IsRegular() && !staged.Metacopy() {
		d := newDesc(staged.Take(), true, true)
		fs.retain(n, n.entry.Load(), d)
		d.release()
	}
	return nil
}

// has tells whether upper has the object of e, with the data that limit asks for.
func has(e *layers.Entry, limit int64) bool {
	return e.Upper && (e.Data() == nil || limit == cow.NoData)
}

// ensureParents makes sure that upper has a directory in which n is known: the first that can be had, for a plain user's
// daemon can't copy up one that is another's; or all of them where the link would break.
func (fs *FS) ensureParents(n *node) (err error) {
	all := fs.unindexed(n)
	for _, at := range fs.table.places(n) {
		fs.raise(at.dir)
		err = fs.ensureUpper(at.dir, cow.Whole)
		if all && err != nil || !all && !refused(err) {
			return err
		}
	}
	return err
}

// refused says that a plain user's daemon may not do it; of another name of the same file perhaps.
func refused(err error) bool { return errors.Is(err, sys.EPERM) || errors.Is(err, sys.EACCES) }

// placeInUpper returns a known name of n, in a directory that upper has if there is one.
func (fs *FS) placeInUpper(n *node) (name, bool) {
	places := fs.table.places(n)
	for _, at := range places {
		if at.dir.entry.Load().Upper {
			return at, true
		}
	}
	if len(places) == 0 {
		return name{}, false
	}
	return places[0], true
}

// complete gives a metacopy in upper the data that it lacks. Caller holds n.use().copyMu.
func (fs *FS) complete(n *node, data *layers.Data, limit int64) error {
	if data.Err != nil && limit > 0 {
		return data.Err
	}
	fd, err := fs.pathFd(n)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if err := n.tree.writer.Complete(n.tree.stack, fd, data.Ref, limit); err != nil {
		return err
	}
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	n.amend(func(e *layers.Entry) { e.Complete(&st) })
	fs.data.drop(n)
	return nil
}

// publish makes a staged copy of n visible and swaps the entry. Caller holds n.use().copyMu.
func (fs *FS) publish(n *node, e *layers.Entry, staged *cow.Staged) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	if n.entry.Load().Upper { // raised meanwhile
		return nil
	}
	st, err := staged.Stat()
	if err != nil {
		return err
	}
	next := *e
	next.CopyUp(&st, staged.Index())
	if staged.Metacopy() {
		next.LeaveData(n.tree.stack.DataOf(e.Lower()))
	}
	if staged.Index() != "" {
		if err := staged.PublishIndex(); err != nil {
			return err
		}
		fs.swap(n, &next)
		if err := fs.linkName(n); err != nil && !refused(err) {
			fs.cfg.Log.Warn("the copy of a hard link is in the index alone", "lower", e.Lower().Path, "error", err)
		}
		return nil
	}
	for {
		at, ok := fs.placeInUpper(n)
		if !ok {
			return fs.publishNameless(n, &next, staged)
		}
		at.dir.dirMu.Lock()
		if !fs.table.has(n, at.dir, at.name) { // unlinked while the copy was made
			at.dir.dirMu.Unlock()
			continue
		}
		linked := fs.unindexed(n)
		err := fs.publishAt(n, &next, staged, at)
		at.dir.dirMu.Unlock()
		if err != nil || !linked {
			return err
		}
		return fs.publishLinks(n, at)
	}
}

// unindexed tells whether n is a hard link of a lower that the index can't hold:
// the count of its names has no place on a special file where marks are user.*.
func (fs *FS) unindexed(n *node) bool {
	e := n.entry.Load()
	return !e.IsDir() && !e.IsRegular() && e.Stat.Nlink > 1 && n.tree.stack.MarksPrefix == layers.PrefixUser
}

// publishLinks gives the copy published at first the other names that n is known
// by: the kernel takes them for one file. A name that nobody has looked up yet
// stays below and leaves the others. Caller holds renameMu.
func (fs *FS) publishLinks(n *node, first name) error {
	fd, err := fs.pathFdLocked(n)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	for _, at := range fs.table.places(n) {
		if at == first || !at.dir.entry.Load().Upper {
			continue
		}
		if err := fs.publishLink(n, at, fd); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) publishLink(n *node, at name, fd int) error {
	at.dir.dirMu.Lock()
	defer at.dir.dirMu.Unlock()
	dir, ok := fs.table.path(at.dir)
	if !ok || !fs.table.has(n, at.dir, at.name) {
		return nil
	}
	err := fs.keepTimes(n.tree, dir, func() error { return n.tree.writer.Link(fd, dir, at.name, false, false) })
	if errors.Is(err, sys.EEXIST) {
		return nil
	}
	return err
}

// publishAt publishes below a parent whose times stay as they are: a copy-up
// is no change that a user made. Caller holds the parent's dirMu.
func (fs *FS) publishAt(n *node, next *layers.Entry, staged *cow.Staged, at name) error {
	dir, ok := fs.table.path(at.dir)
	if !ok {
		return sys.ENOENT
	}
	err := fs.keepTimes(n.tree, dir, func() error { return staged.Publish(dir, at.name) })
	if err == nil {
		fs.swap(n, next)
		if !next.IsDir() && !staged.HasOrigin() {
			fs.alias(n, next)
		}
	}
	return err
}

// linkName gives an object just indexed a name it is known by, so that a
// reader of upper finds the change there (ovl_copy_up does the same). The union has it by the index already: whoever
// asked for the copy must not be told that it failed, for it may have been cut short already. Caller holds renameMu.
func (fs *FS) linkName(n *node) error {
	at, ok := fs.placeInUpper(n)
	if !ok {
		return nil
	}
	err := fs.linkNameAt(n, at)
	if refused(err) { // in a directory that its mode closes
		for _, other := range fs.table.places(n) {
			if other == at || !other.dir.entry.Load().Upper {
				continue
			}
			if err = fs.linkNameAt(n, other); !refused(err) {
				return err
			}
		}
	}
	return err
}

func (fs *FS) linkNameAt(n *node, at name) error {
	at.dir.dirMu.Lock()
	defer at.dir.dirMu.Unlock()
	dir, ok := fs.table.path(at.dir)
	if !ok || !fs.table.has(n, at.dir, at.name) {
		return nil
	}
	fs.countMu.Lock()
	defer fs.countMu.Unlock()
	return fs.linkUp(n, at.dir, dir, at.name)
}

// keepTimes restores the times of the upper directory dir after a change that no user made.
func (fs *FS) keepTimes(t *tree, dir string, change func() error) error {
	d, err := t.stack.Upper.Dir(dir)
	if err != nil {
		return err
	}
	defer d.Release()
	before, err := sys.StatAt(d.Fd, "")
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	if err := sys.UtimesFd(d.Fd, before.Atim, before.Mtim); err != nil {
		fs.cfg.Log.Warn("restore times after copy-up", "dir", dir, "error", err)
	}
	return nil
}

// publishNameless keeps the copy of an object that lost its name: open
// descriptors go on with it, and nobody else sees it.
func (fs *FS) publishNameless(n *node, next *layers.Entry, staged *cow.Staged) error {
	fd, err := staged.PathFd()
	if err != nil {
		return err
	}
	n.pin.Store(int32(fd))
	fs.swap(n, next)
	return nil
}

// swap ends a copy-up: the entry first, then the descriptors that still lead below.
func (fs *FS) swap(n *node, next *layers.Entry) {
	n.entry.Store(next)
	fs.data.drop(n)
}

// makeRouteDir makes a directory that so far existed only as the way to a volume. Caller holds n.use().copyMu.
func (fs *FS) makeRouteDir(n *node, e *layers.Entry) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	at, ok := fs.table.place(n)
	if !ok {
		return sys.ENOENT
	}
	at.dir.dirMu.Lock()
	defer at.dir.dirMu.Unlock()
	dir, ok := fs.table.path(at.dir)
	if !ok {
		return sys.ENOENT
	}
	fd, err := n.tree.writer.Create(dir, at.name, cow.New{Mode: e.Stat.Mode, Uid: e.Stat.Uid, Gid: e.Stat.Gid})
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	next := *e
	next.CopyUp(&st, "")
	fs.swap(n, &next)
	return nil
}

// linkUp gives an indexed hard link its own name in upper before that name is
// moved or removed, which may yet be refused, or its directory moves. Caller holds renameMu, dir's dirMu and countMu (or renameMu for writing).
func (fs *FS) linkUp(n *node, dir *node, at, nm string) error {
	e := n.entry.Load()
	if e.Index() == "" {
		return nil
	}
	switch _, err := n.tree.stack.Upper.Stat(layers.Join(at, nm)); err {
	case nil:
		return fs.settleCount(n, e)
	case sys.ENOENT:
	default:
		return err
	}
	st, err := fs.statIndexed(n, e)
	if err != nil {
		return err
	}
	lower, err := fs.lowerNlinkAt(n, dir, nm)
	if err != nil {
		return err
	}
	return fs.keepTimes(n.tree, at, func() error { return n.tree.writer.LinkUp(e.Index(), at, nm, uint64(st.Nlink), lower) })
}

// settleCount makes the count of n's names follow those in upper before one of them goes: a crash may have left one
// that is relative to the lower's.
func (fs *FS) settleCount(n *node, e *layers.Entry) error {
	relative, err := n.tree.stack.Index.Relative(e.Index())
	if err != nil || !relative {
		return err
	}
	st, err := fs.statIndexed(n, e)
	if err != nil {
		return err
	}
	return n.tree.writer.SetCount(e.Index(), uint64(st.Nlink))
}

// lowerNlinkAt is the link count of the lower object that shows as nm in dir.
func (fs *FS) lowerNlinkAt(n, dir *node, nm string) (uint64, error) {
	found, err := n.tree.stack.LookupLower(dir.entry.Load(), nm)
	if err != nil {
		return 0, err
	}
	return uint64(found.Nlink), nil
}
