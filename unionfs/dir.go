package unionfs

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// listing is the merged listing of a directory while it is being read, in the
// order of the names' offsets.
type listing struct {
	mu    sync.Mutex
	names []listed // nil: to be read; guarded by mu, the slice itself never changes
}

// listed is a name and its offset: a number drawn from the name itself, as ext4's
// are. The kernel may ask for what follows an offset at any time, also long after
// the listing was dropped or others have changed the directory: names that come
// and go must move no other (readdir(3)), and nothing but the name stays the same.
type listed struct {
	layers.Name
	offset uint64
}

// Offsets 1 and 2 belong to "." and "..", the next to names; all fit a signed 63-bit off_t.
const (
	firstOffset = 3
	offsetMask  = 1<<62 - 1
)

// offsetOf draws a name's offset (FNV-1a).
func offsetOf(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 32
	return max(h&offsetMask, firstOffset)
}

// order sorts names by offset. Where two draw the same, the later moves on by one.
func order(found []layers.Name) []listed {
	names := make([]listed, len(found))
	for i, f := range found {
		names[i] = listed{f, offsetOf(f.Name)}
	}
	slices.SortFunc(names, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	for i := 1; i < len(names); i++ {
		names[i].offset = max(names[i].offset, names[i-1].offset+1)
	}
	return names
}

// OpenDir answers ENOSYS where the kernel shall never ask again and keep listings.
func (c *conn) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if c.fs.cfg.IO == IOCached {
		return fuse.ENOSYS
	}
	if n := c.node(in.NodeId); !n.tree.shared && !c.fs.cfg.Coherent && n.routes == nil {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
	}
	return fuse.OK
}

// ReleaseDir has nothing to release.
func (c *conn) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists names.
func (c *conn) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return c.readDir(in, out.AddDirEntry)
}

// ReadDirPlus lists names and looks each of them up.
func (c *conn) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir := c.node(in.NodeId)
	return c.readDir(in, func(e fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if e.Name == "." || e.Name == ".." {
			return true
		}
		if n, st, err := c.fs.lookup(dir, e.Name, true); err == nil {
			c.fs.fillFound(dir, n, &st, entry)
			out.FixMode(st.Mode)
		}
		return true
	})
}

func (c *conn) readDir(in *fuse.ReadIn, add func(fuse.DirEntry) bool) fuse.Status {
	dir := c.node(in.NodeId)
	if dir.isGone() {
		return fuse.OK // a removed directory has no names, not even its own
	}
	names, err := c.fs.readNames(dir, in.Offset == 0)
	if err != nil {
		return c.fs.failed(dir, "list", err)
	}
	if in.Offset < 1 && !add(fuse.DirEntry{Name: ".", Mode: sys.S_IFDIR, Ino: dir.ino(), Off: 1}) {
		return fuse.OK
	}
	if in.Offset < 2 && !add(fuse.DirEntry{Name: "..", Mode: sys.S_IFDIR, Ino: c.fs.parentIno(dir), Off: 2}) {
		return fuse.OK
	}
	next, _ := slices.BinarySearchFunc(names, in.Offset+1, func(n listed, off uint64) int { return cmp.Compare(n.offset, off) })
	for _, n := range names[next:] {
		if !add(fuse.DirEntry{Name: n.Name.Name, Mode: uint32(n.Type) << 12, Ino: n.Ino, Off: n.offset}) {
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
func (fs *FS) readNames(dir *node, start bool) ([]listed, error) {
	l := &dir.list
	l.mu.Lock()
	names := l.names
	l.mu.Unlock()
	if names != nil && !start {
		return names, nil
	}
	found, err := fs.scan(dir)
	if err != nil {
		return nil, err
	}
	names = order(found)
	l.mu.Lock()
	l.names = names
	l.mu.Unlock()
	fs.lists.keep(dir)
	return names, nil
}

// each calls visit for every name that the layers show in dir.
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
func (fs *FS) scan(dir *node) (names []layers.Name, err error) {
	for nm, to := range dir.routes {
		names = append(names, layers.Name{Name: nm, Ino: to.ino(), Type: uint8(to.entry.Load().Stat.Mode >> 12 & 15)})
	}
	err = fs.each(dir, func(found layers.Name) error {
		if dir.routes[found.Name] == nil {
			names = append(names, found)
		}
		return nil
	})
	fs.renumber(dir.tree, names)
	return names, err
}

// FsyncDir makes names durable.
func (c *conn) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := c.node(in.NodeId)
	if !n.entry.Load().Upper || c.fs.cfg.Volatile && !n.tree.shared {
		return fuse.OK
	}
	p, err := c.fs.pathFd(n)
	if err != nil {
		return c.fs.failed(n, "sync", err)
	}
	defer sys.Close(p)
	fd, err := sys.Reopen(p, sys.O_RDONLY|sys.O_DIRECTORY)
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
