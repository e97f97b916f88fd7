package unionfs

import (
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// listing is the merged listing of a directory while it is being read. A name
// keeps its offset as long as the listing lives, however often the directory is
// read anew: names that come and go move no other (readdir(3), POSIX).
type listing struct {
	mu    sync.Mutex
	names []layers.Name // offset-firstName → name; "" where one has gone; guarded by mu
	holes int           // guarded by mu
	used  time.Time     // guarded by mu
}

// Offsets 1 and 2 come after "." and ".."; a name's offset is the one after it.
const firstName = 2

// quiet is how long a directory must not have been read before its names may get other offsets.
const quiet = 10 * time.Second

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
			c.fs.fillEntry(n, &st, entry)
			out.FixMode(st.Mode)
		}
		return true
	})
}

func (c *conn) readDir(in *fuse.ReadIn, add func(fuse.DirEntry) bool) fuse.Status {
	dir := c.node(in.NodeId)
	if dir.gone.Load() {
		return fuse.OK // a removed directory has no names, not even its own
	}
	if err := c.fs.readNames(dir, in.Offset == 0); err != nil {
		return c.fs.status(err)
	}
	if in.Offset < 1 && !add(fuse.DirEntry{Name: ".", Mode: sys.S_IFDIR, Ino: dir.ino, Off: 1}) {
		return fuse.OK
	}
	if in.Offset < 2 && !add(fuse.DirEntry{Name: "..", Mode: sys.S_IFDIR, Ino: c.fs.parentIno(dir), Off: 2}) {
		return fuse.OK
	}
	for off := max(in.Offset, firstName); ; off++ {
		nm, ok := dir.list.at(int(off - firstName))
		if !ok {
			return fuse.OK
		}
		if nm.Name != "" && !add(fuse.DirEntry{Name: nm.Name, Mode: uint32(nm.Type) << 12, Ino: nm.Ino, Off: off + 1}) {
			return fuse.OK
		}
	}
}

func (l *listing) at(i int) (layers.Name, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i >= len(l.names) {
		return layers.Name{}, false
	}
	return l.names[i], true
}

func (fs *FS) parentIno(n *node) uint64 {
	if at, ok := fs.table.place(n); ok {
		return at.dir.ino
	}
	return n.ino
}

// readNames reads the directory if it is read from its start, or its names are no longer at hand.
func (fs *FS) readNames(dir *node, start bool) error {
	l := &dir.list
	l.mu.Lock()
	have := l.names != nil
	l.mu.Unlock()
	if have && !start {
		l.touch()
		return nil
	}
	names, err := fs.scan(dir)
	if err != nil {
		return err
	}
	l.merge(names)
	fs.lists.keep(dir)
	return nil
}

func (l *listing) touch() {
	l.mu.Lock()
	l.used = time.Now()
	l.mu.Unlock()
}

// merge takes over what a new scan found.
func (l *listing) merge(found []layers.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) == 0 || l.holes*2 > len(l.names) && time.Since(l.used) > quiet {
		l.names, l.holes = found, 0
	} else {
		l.update(found)
	}
	if l.names == nil {
		l.names = []layers.Name{}
	}
	l.used = time.Now()
}

// update keeps the offsets of names that are still there. Caller holds mu.
func (l *listing) update(found []layers.Name) {
	now := make(map[string]int, len(found))
	for i := range found {
		now[found[i].Name] = i
	}
	kept := make([]bool, len(found))
	for i := range l.names {
		if l.names[i].Name == "" {
			continue
		}
		j, ok := now[l.names[i].Name]
		if !ok {
			l.names[i] = layers.Name{}
			l.holes++
			continue
		}
		l.names[i] = found[j]
		kept[j] = true
	}
	for i := range found {
		if !kept[i] {
			l.names = append(l.names, found[i])
		}
	}
}

// scan reads the names of dir from its layers, and those of routes.
func (fs *FS) scan(dir *node) (names []layers.Name, err error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.RLock()
	defer dir.dirMu.RUnlock()
	at, ok := fs.table.path(dir)
	if !ok {
		return nil, sys.ENOENT
	}
	for nm, to := range dir.routes {
		names = append(names, layers.Name{Name: nm, Ino: to.ino, Type: uint8(to.entry.Load().Stat.Mode >> 12 & 15)})
	}
	e := dir.entry.Load()
	if !e.Upper && len(e.Lowers) == 0 {
		return names, nil
	}
	err = dir.tree.stack.List(e, at, func(found layers.Name) error {
		if dir.routes[found.Name] == nil {
			names = append(names, found)
		}
		return nil
	})
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
		return c.fs.status(err)
	}
	defer sys.Close(p)
	fd, err := sys.Reopen(p, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return c.fs.status(err)
	}
	defer sys.Close(fd)
	return c.fs.status(sys.SyncFd(fd, in.FsyncFlags&1 != 0))
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
		old.list.names, old.list.holes = nil, 0
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
