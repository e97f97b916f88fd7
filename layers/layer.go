package layers

import (
	"container/list"
	"path"
	"sync"

	"github.com/unionmount/unionmount/layers/sys"
)

// Layer is one directory tree, reached only through the descriptor of its root.
type Layer struct {
	Path string   // as the user gave it; for messages only
	Dev  uint64   // st_dev of the root
	UUID [16]byte // of the root's file system, zero if unknown

	root    int
	lower   bool // opened read-only, for ever
	noatime bool // the mount itself leaves access times alone
	dirs    dirCache
}

// OpenLower opens a read-only layer. With CAP_SYS_ADMIN it is read through a
// detached read-only mount, so that neither content nor access times can change
// and mounts below it (our own mountpoint, /proc) are no part of it. Without, a
// directory that another file system is mounted on counts as empty.
func OpenLower(dir string, dirCap int) (*Layer, error) {
	fd, err := sys.OpenClone(dir)
	noatime := err == nil
	if err != nil {
		fd, err = sys.Open(dir, sys.O_PATH|sys.O_DIRECTORY)
	}
	if err != nil {
		return nil, err
	}
	return newLayer(dir, fd, dirCap, true, noatime)
}

// OpenUpper opens a layer that may change. dirCap bounds the directory
// descriptors kept open; 0 for a tree that others change too: nothing is kept.
func OpenUpper(dir string, dirCap int) (*Layer, error) {
	fd, err := sys.Open(dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return newLayer(dir, fd, dirCap, false, false)
}

func newLayer(dir string, fd, dirCap int, lower, noatime bool) (*Layer, error) {
	st, err := sys.StatAt(fd, "")
	if err == nil && st.Mode&sys.S_IFMT != sys.S_IFDIR {
		err = sys.ENOTDIR
	}
	if err != nil {
		_ = sys.Close(fd)
		return nil, err
	}
	l := &Layer{Path: dir, Dev: st.Dev, root: fd, lower: lower, noatime: noatime}
	if rfd, err := sys.OpenAt(fd, ".", sys.O_RDONLY|sys.O_DIRECTORY, 0); err == nil {
		l.UUID = sys.UUID(rfd)
		_ = sys.Close(rfd)
	}
	l.dirs.init(dirCap)
	return l, nil
}

// Close gives up the root and every kept descriptor.
func (l *Layer) Close() error {
	l.dirs.drop(func(string) bool { return true })
	return sys.Close(l.root)
}

// Dir is an O_PATH descriptor of one directory of a layer, shared and counted.
type Dir struct {
	Fd   int
	refs int // guarded by the cache's mu; the cache itself holds one
	path string
	elem *list.Element
	home *dirCache
}

// Release gives the descriptor back; it must not be used afterwards.
func (d *Dir) Release() { d.home.release(d) }

// Dir opens the directory at p ("" is the root) beneath the root, following nothing.
func (l *Layer) Dir(p string) (*Dir, error) {
	d, drops := l.dirs.get(p)
	if d != nil {
		return d, nil
	}
	fd, err := sys.OpenBeneath(l.root, p, sys.O_PATH|sys.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return l.dirs.put(p, fd, drops), nil
}

// Parent opens the directory that holds p and returns the last name; the root is "" in itself.
func (l *Layer) Parent(p string) (*Dir, string, error) {
	dir, base := Split(p)
	d, err := l.Dir(dir)
	return d, base, err
}

// Stat stats the object at p, following nothing.
func (l *Layer) Stat(p string) (sys.Stat, error) {
	d, base, err := l.Parent(p)
	if err != nil {
		return sys.Stat{}, err
	}
	defer d.Release()
	return sys.StatAt(d.Fd, base)
}

// At calls use with the directory that holds p and p's name in it; the root is "." in itself.
func (l *Layer) At(p string, use func(dir int, name string) error) error {
	d, base, err := l.Parent(p)
	if err != nil {
		return err
	}
	defer d.Release()
	if base == "" {
		base = "."
	}
	return use(d.Fd, base)
}

// PathFd returns an O_PATH descriptor of the object at p, a symbolic link included.
func (l *Layer) PathFd(p string) (int, error) {
	return sys.OpenBeneath(l.root, p, sys.O_PATH, 0)
}

// Open opens the object at p. In a lower, flags ask for reading at most.
func (l *Layer) Open(p string, flags int) (int, error) {
	if l.lower && flags&sys.O_ACCMODE != sys.O_RDONLY {
		return -1, sys.EROFS
	}
	d, base, err := l.Parent(p)
	if err != nil {
		return -1, err
	}
	defer d.Release()
	if base == "" {
		base = "."
	}
	if l.lower && !l.noatime {
		if fd, err := sys.OpenAt(d.Fd, base, flags|sys.O_NOATIME, 0); err != sys.EPERM {
			return fd, err
		}
	}
	return sys.OpenAt(d.Fd, base, flags, 0)
}

// Forget drops the kept descriptors of the directory at p and of all below it:
// the name is about to mean something else.
func (l *Layer) Forget(p string) {
	l.dirs.drop(func(q string) bool {
		return q == p || len(q) > len(p) && q[:len(p)] == p && (p == "" || q[len(p)] == '/')
	})
}

// Join and Split work on paths relative to a layer's root: "" is the root, no slash at either end.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Split cuts p into its directory and last name.
func Split(p string) (dir, name string) {
	dir, name = path.Split(p)
	if dir != "" {
		dir = dir[:len(dir)-1]
	}
	return dir, name
}

// dirCache keeps the directory descriptors used last.
type dirCache struct {
	mu  sync.Mutex
	max int             // immutable after init
	m   map[string]*Dir // guarded by mu
	lru list.List       // of *Dir, most recent first; guarded by mu

	drops uint64 // how often something was dropped; guarded by mu
}

func (c *dirCache) init(max int) {
	c.max = max
	c.m = make(map[string]*Dir)
	c.lru.Init()
}

// get returns what is kept for p, or nil and a number for put.
func (c *dirCache) get(p string) (*Dir, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.m[p]
	if d != nil {
		d.refs++
		c.lru.MoveToFront(d.elem)
	}
	return d, c.drops
}

// put keeps fd for p, unless something was dropped since get said drops: then
// it may be p's no more, and is its caller's alone.
func (c *dirCache) put(p string, fd int, drops uint64) *Dir {
	d := &Dir{Fd: fd, refs: 1, path: p, home: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.max == 0 || c.m[p] != nil || c.drops != drops {
		return d // not kept: nothing may be, or another was quicker
	}
	d.refs++
	d.elem = c.lru.PushFront(d)
	c.m[p] = d
	for c.lru.Len() > c.max {
		c.evict(c.lru.Back().Value.(*Dir))
	}
	return d
}

// evict takes d out of the cache. Caller holds mu.
func (c *dirCache) evict(d *Dir) {
	c.lru.Remove(d.elem)
	delete(c.m, d.path)
	d.refs--
	if d.refs == 0 {
		_ = sys.Close(d.Fd) // an O_PATH descriptor has nothing to lose
	}
}

func (c *dirCache) release(d *Dir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.refs--
	if d.refs == 0 {
		_ = sys.Close(d.Fd)
	}
}

func (c *dirCache) drop(which func(path string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for p, d := range c.m {
		if which(p) {
			c.evict(d)
		}
	}
}
