package unionfs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Rename moves a name: plain, NOREPLACE or EXCHANGE.
func (c *conn) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	return c.rename(in, oldName, newName, false)
}

// rename is Rename. now: EAGAIN means that something would have to be copied up or waited for.
func (c *conn) rename(in *fuse.RenameIn, oldName, newName string, now bool) fuse.Status {
	r := renaming{
		fs: c.fs, from: name{c.node(in.NodeId), oldName}, to: name{c.node(in.Newdir), newName},
		noReplace: in.Flags&sys.RENAME_NOREPLACE != 0,
		exchange:  in.Flags&sys.RENAME_EXCHANGE != 0,
	}
	if in.Flags&^uint32(sys.RENAME_NOREPLACE|sys.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	run := r.run
	if now {
		run = r.runNow
	}
	err := run()
	for _, id := range r.moved {
		// Its cached listing names the former parent as "..". No lock is held here.
		_ = c.fs.server.InvalidateInode(id, 0, 0) // ENOENT: the kernel doesn't hold it
	}
	return c.fs.status(err)
}

// renaming is one rename on its way.
type renaming struct {
	fs                  *FS
	from, to            name
	noReplace, exchange bool
	moved               []uint64 // directories that have another parent now
}

func (r *renaming) run() error {
	if err := r.allowed(); err != nil {
		return err
	}
	if err := r.fs.changeDir(r.to.dir, r.to.name); err != nil {
		return err
	}
	if err := r.fs.change(r.from.dir, cow.Whole); err != nil {
		return err
	}
	for range retries {
		done, err := r.attempt()
		if done || err != nil {
			return err
		}
	}
	return sys.EBUSY
}

// runNow is run where nothing has to be brought up first and no lock to be waited for; EAGAIN else.
func (r *renaming) runNow() error {
	if err := r.allowed(); err != nil {
		return err
	}
	if !r.from.dir.entry.Load().Upper || !r.to.dir.entry.Load().Upper || !r.fs.renameMu.TryLock() {
		return sys.EAGAIN
	}
	defer r.fs.renameMu.Unlock()
	if err := r.fs.changeDir(r.to.dir, r.to.name); err != nil { // both lie in upper: nothing is copied
		return err
	}
	done, err := r.locked()
	if !done && err == nil {
		err = sys.EAGAIN
	}
	return err
}

func (r *renaming) allowed() error {
	if r.from.dir.tree != r.to.dir.tree {
		return sys.EXDEV
	}
	if r.from.dir.routes[r.from.name] != nil || r.to.dir.routes[r.to.name] != nil {
		return sys.EBUSY
	}
	return nil
}

// attempt moves under the lock, or brings both objects up without it; not done:
// what is under a name then has to be looked at again.
func (r *renaming) attempt() (done bool, err error) {
	r.fs.renameMu.Lock()
	done, err = r.locked()
	r.fs.renameMu.Unlock()
	if done || err != nil {
		return done, err
	}
	if err := r.bringUp(r.from); err != nil {
		return false, err
	}
	if r.exchange {
		return false, r.bringUp(r.to)
	}
	n, _, err := r.fs.lookup(r.to.dir, r.to.name, true)
	switch {
	case err == sys.ENOENT:
		return false, nil
	case err != nil:
		return false, err
	}
	defer r.fs.letGo(n)
	if n.indexFirst() {
		err = r.fs.ensureUpper(n, cow.Whole)
	}
	return false, err
}

// bringUp copies up what is under a name, and all of a merged directory where
// redirects are not to be written.
func (r *renaming) bringUp(at name) error {
	n, _, err := r.fs.lookup(at.dir, at.name, true)
	if err != nil {
		return err
	}
	defer r.fs.letGo(n)
	if n.tree.shared {
		return nil
	}
	if err = r.fs.ensureUpper(n, cow.Whole); err == nil && n.entry.Load().Merged() && !r.fs.redirects() {
		err = r.fs.flatten(n)
	}
	return err
}

// locked does the rename. Caller holds renameMu for writing.
func (r *renaming) locked() (done bool, err error) {
	r.from.dir.dirMu.changes.Add(1)
	r.to.dir.dirMu.changes.Add(1)
	src, err := r.fs.find(r.from)
	if err != nil {
		return false, err
	}
	if src.n == nil {
		return false, sys.ENOENT
	}
	defer r.fs.letGo(src.n)
	dst, err := r.fs.find(r.to)
	if err != nil {
		return false, err
	}
	if dst.n != nil {
		defer r.fs.letGo(dst.n)
	}
	if err := r.permitted(src, dst); err != nil {
		return false, err
	}
	if dst.n == src.n {
		return true, nil // two names of one file: nothing to do (rename(2))
	}
	if !r.ready(src) || dst.n != nil && (r.exchange && !r.ready(dst) || dst.n.indexFirst()) {
		return false, nil
	}
	if err := r.linkUp(&src, &dst); err != nil {
		return false, err
	}
	if r.exchange {
		return true, r.swap(src, dst)
	}
	return true, r.move(src, dst)
}

// ready tells whether the object was brought up; it may have been replaced meanwhile.
func (r *renaming) ready(s side) bool {
	e := s.n.entry.Load()
	return s.n.tree.shared || e.Upper && e.Data() == nil && (!e.Merged() || r.fs.redirects())
}

func (r *renaming) permitted(src, dst side) error {
	switch {
	case r.exchange && dst.n == nil:
		return sys.ENOENT
	case r.exchange || dst.n == nil:
		return nil
	case r.noReplace:
		return sys.EEXIST
	case dst.n == src.n:
		return nil
	}
	if err := r.fs.fixedLocked(dst.n); err != nil {
		return err
	}
	from, to := src.n.entry.Load().IsDir(), dst.n.entry.Load().IsDir()
	switch {
	case from && !to:
		return sys.ENOTDIR
	case !from && to:
		return sys.EISDIR
	case to:
		return r.fs.empty(dst.n, layers.Join(dst.at, dst.name.name))
	}
	return nil
}

// linkUp gives indexed hard links their own names in upper, so that counting follows the names.
func (r *renaming) linkUp(sides ...*side) error {
	for _, s := range sides {
		if s.n == nil || s.n.entry.Load().Index() == "" {
			continue
		}
		if err := r.fs.linkUp(s.n, s.dir, s.at, s.name.name); err != nil {
			return err
		}
		s.inUpper = true
	}
	return nil
}

// marks tells what a directory must say before it comes to lie at the other side.
func (r *renaming) marks(s, other side) (redirect string, opaque bool) {
	e := s.n.entry.Load()
	switch {
	case !e.IsDir() || s.n.tree.shared:
		return "", false
	case e.HasLower():
		return "/" + e.LowerPath(), false
	}
	return "", other.inLower
}

func (r *renaming) move(src, dst side) error {
	e := src.n.entry.Load()
	m := cow.Move{
		OldDir: src.at, OldName: src.name.name, NewDir: dst.at, NewName: dst.name.name,
		Dir: e.IsDir(), WhiteoutOld: src.inLower, NoReplace: r.noReplace,
		ReplacesDir: dst.n != nil && dst.n.entry.Load().IsDir(),
		Hides:       dst.n == nil && !dst.dir.tree.shared || dst.inLower,
		HasOrigin:   r.fs.hasOrigin(src.n),
	}
	m.Redirect, m.Opaque = r.marks(src, dst)
	if dst.n != nil && !dst.inUpper {
		// Only a lower has the target: a whiteout has nothing to take the place of.
		m.ReplacesDir = false
	}
	if dst.n != nil {
		if err := r.keepTarget(dst.n); err != nil {
			return err
		}
	}
	cleared, err := src.dir.tree.writer.Rename(m)
	if cleared {
		next := *dst.n.entry.Load()
		next.DropLowers()
		dst.n.entry.Store(&next)
	}
	if err != nil {
		return err
	}
	if dst.n != nil {
		if err := r.fs.nameGone(dst.n, dst.dir, dst.name.name); err != nil {
			r.fs.cfg.Log.Error("let go of the replaced file", "name", dst.name.name, "error", err)
		}
	}
	r.fs.table.move(src.n, r.from, r.to)
	r.noteMoved(src.n)
	return nil
}

// noteMoved notes a directory that came to another parent.
func (r *renaming) noteMoved(n *node) {
	if n.dirPart != nil && r.from.dir != r.to.dir {
		r.moved = append(r.moved, n.id)
	}
}

func (r *renaming) keepTarget(n *node) error {
	if n.entry.Load().Index() != "" || r.fs.table.known(n) > 1 {
		return nil
	}
	return r.fs.keep(n)
}

func (r *renaming) swap(src, dst side) error {
	a := cow.Side{Dir: src.at, Name: src.name.name, IsDir: src.n.entry.Load().IsDir(), HasOrigin: r.fs.hasOrigin(src.n)}
	b := cow.Side{Dir: dst.at, Name: dst.name.name, IsDir: dst.n.entry.Load().IsDir(), HasOrigin: r.fs.hasOrigin(dst.n)}
	a.Redirect, a.Opaque = r.marks(src, dst)
	b.Redirect, b.Opaque = r.marks(dst, src)
	if err := src.dir.tree.writer.Exchange(a, b); err != nil {
		return err
	}
	r.fs.table.exchange(src.n, r.from, dst.n, r.to)
	r.noteMoved(src.n)
	r.noteMoved(dst.n)
	return nil
}

// hasOrigin tells whether n's upper object shows the number of a lower one.
func (fs *FS) hasOrigin(n *node) bool {
	e := n.entry.Load()
	return !n.tree.shared && n.ino() != n.tree.stack.IDs.Number(uint64(e.Stat.Dev), e.Stat.Ino)
}

// exchange swaps the names of two nodes.
func (t *table) exchange(a *node, nameA name, b *node, nameB name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropName(a, nameA.dir, nameA.name)
	t.dropName(b, nameB.dir, nameB.name)
	t.addName(a, nameB.dir, nameB.name)
	t.addName(b, nameA.dir, nameA.name)
}
