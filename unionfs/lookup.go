package unionfs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Lookup finds a name. A name that isn't there is an answer too, and as lasting.
func (c *conn) Lookup(_ <-chan struct{}, in *fuse.InHeader, nm string, out *fuse.EntryOut) fuse.Status {
	dir := c.node(in.NodeId)
	dir.list.looked()
	n, st, err := c.fs.lookup(dir, nm, true)
	if err == sys.ENOENT {
		if v := c.fs.validity(dir.tree); v > 0 {
			out.NodeId = 0
			out.SetEntryTimeout(v)
			return fuse.OK
		}
	}
	if err != nil {
		return c.fs.status(err)
	}
	c.fs.fillFound(dir, n, &st, out)
	return fuse.OK
}

// lookup finds nm in dir; counted: the kernel is about to hold the node.
func (fs *FS) lookup(dir *node, nm string, counted bool) (*node, sys.Stat, error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.RLock()
	defer dir.dirMu.RUnlock()
	return fs.lookupLocked(dir, nm, counted)
}

// lookupListed looks up a name of a listing for the kernel. While nobody has changed the directory since, the layer that
// showed a name is the only one to be asked.
func (fs *FS) lookupListed(dir *node, names *names, at int, nm string) (*node, sys.Stat, error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.RLock()
	defer dir.dirMu.RUnlock()
	part, lower := names.part(names.all[at])
	if !lower || names.changes != dir.dirMu.changes.Load() || dir.isGone() {
		return fs.lookupLocked(dir, nm, true)
	}
	e, err := dir.tree.stack.LookupIn(dir.entry.Load(), part, nm)
	if err == sys.ESTALE {
		return fs.lookupLocked(dir, nm, true)
	}
	if err != nil {
		return nil, sys.Stat{}, err
	}
	return fs.found(dir, nm, e, true)
}

// lookupLocked is lookup for a caller that holds renameMu and dir's dirMu.
func (fs *FS) lookupLocked(dir *node, nm string, counted bool) (*node, sys.Stat, error) {
	if to := dir.routes[nm]; to != nil {
		st, err := fs.statLocked(to)
		if err == nil && counted {
			fs.table.count(to)
		}
		return to, st, err
	}
	at, err := fs.dirPath(dir)
	if err != nil {
		return nil, sys.Stat{}, err
	}
	e, whiteout, err := entryAt(dir, at, nm)
	if err == sys.ENOENT && fs.ours(dir.tree) {
		dir.missed(nm, whiteout)
	}
	if err != nil {
		return nil, sys.Stat{}, err
	}
	return fs.found(dir, nm, e, counted)
}

// found gives what the layers have as nm in dir its node. Caller holds renameMu and dirMu.
func (fs *FS) found(dir *node, nm string, e *layers.Entry, counted bool) (*node, sys.Stat, error) {
	n := fs.table.intern(dir, nm, e, counted)
	st, err := fs.freshStat(n, e)
	if err != nil && counted {
		fs.reapAll(fs.table.forget(n.id, 1))
	}
	return n, st, err
}

// dirPath is where the directory dir is; ENOENT: it was removed. Caller holds renameMu.
func (fs *FS) dirPath(dir *node) (string, error) {
	if dir.isGone() {
		return "", sys.ENOENT
	}
	at, ok := fs.table.path(dir)
	if !ok {
		return "", sys.ENOENT
	}
	return at, nil
}

// entryAt asks the layers for nm in dir, which is at a path; whiteout as layers.Stack.Find has it.
func entryAt(dir *node, at, nm string) (e *layers.Entry, whiteout bool, err error) {
	if len(nm) > 255 {
		return nil, false, sys.ENAMETOOL
	}
	return dir.tree.stack.Find(dir.entry.Load(), at, nm)
}

// freshStat returns the stat that e brought along if it is n's latest.
func (fs *FS) freshStat(n *node, e *layers.Entry) (sys.Stat, error) {
	now := n.entry.Load()
	if e.Index() == "" && now.Index() == "" && now.Upper == e.Upper && n.pin.Load() < 0 && now.Lowers() == e.Lowers() {
		return fs.countNames(n, e, e.Stat.Full())
	}
	return fs.statLocked(n)
}

// Forget takes the kernel's references away.
func (c *conn) Forget(id, count uint64) {
	c.fs.reapAll(c.fs.table.forget(id, count))
}

// Readlink reads a symbolic link.
func (c *conn) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	n := c.node(in.NodeId)
	fd, err := c.fs.pathFd(n)
	if err != nil {
		return nil, c.fs.failed(n, "read link", err)
	}
	defer sys.Close(fd)
	target, err := sys.ReadlinkAt(fd, "")
	return []byte(target), c.fs.failed(n, "read link", err)
}
