package unionfs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers/sys"
)

// Link gives a file one more name.
func (c *conn) Link(_ <-chan struct{}, in *fuse.LinkIn, nm string, out *fuse.EntryOut) fuse.Status {
	n := c.node(in.Oldnodeid)
	if err := c.fs.link(n, c.node(in.NodeId), nm); err != nil {
		return c.fs.status(err)
	}
	c.fs.table.count(n)
	st, err := c.fs.stat(n)
	if err != nil {
		c.fs.letGo(n)
		return c.fs.status(err)
	}
	c.fs.fillEntry(n, &st, out)
	return fuse.OK
}

func (fs *FS) link(n, dir *node, nm string) error {
	if n.tree != dir.tree {
		return sys.EXDEV
	}
	if err := fs.changeDir(dir, nm); err != nil {
		return err
	}
	if err := fs.ensureUpper(n, cow.Whole); err != nil {
		return err
	}
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.Lock()
	defer dir.dirMu.Unlock()
	at, hides, err := fs.vacant(dir, nm)
	if err != nil {
		return err
	}
	fd, err := fs.pathFdLocked(n)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if n.entry.Load().Index() != "" {
		fs.countMu.Lock()
		defer fs.countMu.Unlock()
	}
	if err := dir.tree.writer.Link(fd, at, nm, hides, fs.hasOrigin(n)); err != nil {
		return err
	}
	fs.table.mu.Lock()
	fs.table.addName(n, dir, nm)
	fs.table.mu.Unlock()
	return nil
}
