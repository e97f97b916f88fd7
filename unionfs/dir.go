package unionfs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// OpenDir answers ENOSYS where the kernel shall never ask again and keep listings.
func (c *conn) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if c.fs.cfg.IO == IOCached {
		return fuse.ENOSYS
	}
	if n := c.node(in.NodeId); !n.tree.shared && !c.fs.cfg.Coherent && n.routes == nil {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR
		if !n.list.unsure.Swap(false) { // else they are to be read anew: the directory may be open to us by now
			out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
		}
	}
	return fuse.OK
}

// ReleaseDir has nothing to release.
func (c *conn) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists names.
func (c *conn) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return c.readDir(in, func(e fuse.DirEntry, _ *names, _ int) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names and looks them up, except those that nameOnly leaves out.
func (c *conn) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir := c.node(in.NodeId)
	return c.readDir(in, func(e fuse.DirEntry, names *names, at int) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if names == nil || dir.list.nameOnly(at) {
			return true
		}
		if n, st, err := c.fs.lookupListed(dir, names, at, e.Name); err == nil {
			c.fs.fillFound(dir, n, &st, entry)
			out.FixMode(st.Mode)
		}
		return true
	})
}

// readDir calls add with each name and its place in the listing, with no listing for "." and "..".
func (c *conn) readDir(in *fuse.ReadIn, add func(e fuse.DirEntry, in *names, at int) bool) fuse.Status {
	dir := c.node(in.NodeId)
	if dir.isGone() {
		return fuse.OK // a removed directory has no names, not even its own
	}
	names, err := c.fs.readNames(dir, in.Offset == 0)
	if err != nil {
		return c.fs.failed(dir, "list", err)
	}
	if in.Offset < 1 && !add(fuse.DirEntry{Name: ".", Mode: sys.S_IFDIR, Ino: dir.ino(), Off: 1}, nil, 0) {
		return fuse.OK
	}
	if in.Offset < 2 && !add(fuse.DirEntry{Name: "..", Mode: sys.S_IFDIR, Ino: c.fs.parentIno(dir), Off: 2}, nil, 0) {
		return fuse.OK
	}
	first := names.after(in.Offset)
	for i, n := range names.all[first:] {
		if !add(fuse.DirEntry{Name: string(names.name(n)), Mode: names.mode(n), Ino: n.ino, Off: n.offset}, names, first+i) {
			return fuse.OK
		}
	}
	return fuse.OK
}

func (fs *FS) parentIno(n *node) uint64 {
	if at, ok := fs.table.place(n); ok {
		return at.dir.ino()
	}
	return n.ino()
}

// readNames reads the directory if it is read from its start, or its names are no longer at hand.
func (fs *FS) readNames(dir *node, start bool) (*names, error) {
	l := &dir.list
	l.mu.Lock()
	known := l.names
	l.mu.Unlock()
	if known != nil && !start {
		return known, nil
	}
	found, err := fs.scan(dir)
	if err != nil {
		return nil, err
	}
	found.order()
	l.mu.Lock()
	l.names = found
	l.mu.Unlock()
	fs.lists.keep(dir)
	return found, nil
}

// each calls visit for every name that the layers show in dir, which nobody changes meanwhile.
func (fs *FS) each(dir *node, visit func(layers.Name) error) error {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.RLock()
	defer dir.dirMu.RUnlock()
	at, ok := fs.table.path(dir)
	if !ok {
		return sys.ENOENT
	}
	return dir.tree.stack.List(dir.entry.Load(), at, visit)
}

// scan reads the names of dir from its layers, and those of routes.
func (fs *FS) scan(dir *node) (*names, error) {
	found := &names{}
	for nm, to := range dir.routes {
		found.add(layers.Name{Name: nm, Ino: to.ino(), Type: uint8(to.entry.Load().Stat.Mode >> 12 & 15), Part: layers.InUpper})
	}
	err := fs.each(dir, func(n layers.Name) error {
		found.changes = dir.dirMu.changes.Load()
		if dir.routes[n.Name] == nil {
			found.add(n)
		}
		if n.Unsure {
			dir.list.unsure.Store(true)
		}
		return nil
	})
	fs.renumber(dir.tree, found)
	return found, err
}

// FsyncDir makes names durable.
func (c *conn) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := c.node(in.NodeId)
	if !n.entry.Load().Upper || c.fs.cfg.Volatile && !n.tree.shared {
		return fuse.OK
	}
	fd, err := c.fs.reopen(n, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return c.fs.failed(n, "sync", err)
	}
	defer sys.Close(fd)
	return c.fs.failed(n, "sync", sys.SyncFd(fd, in.FsyncFlags&1 != 0))
}

// lists bounds how many names of listings stay in memory.
type lists struct {
	mu    sync.Mutex
	nodes []*node // read last at the end; guarded by mu
}

// maxLists is how many directories keep their listing between reads.
const maxLists = 64

// keep notes that dir was read and drops the listing read longest ago.
func (l *lists) keep(dir *node) {
	l.mu.Lock()
	var old *node
	for i, n := range l.nodes {
		if n == dir {
			l.nodes = append(l.nodes[:i], l.nodes[i+1:]...)
			break
		}
	}
	l.nodes = append(l.nodes, dir)
	if len(l.nodes) > maxLists {
		old = l.nodes[0]
		l.nodes = append([]*node(nil), l.nodes[1:]...)
	}
	l.mu.Unlock()
	if old != nil {
		old.list.mu.Lock()
		old.list.names = nil
		old.list.mu.Unlock()
	}
}

// drop forgets dir's listing.
func (l *lists) drop(dir *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range l.nodes {
		if n == dir {
			l.nodes = append(l.nodes[:i], l.nodes[i+1:]...)
			return
		}
	}
}
