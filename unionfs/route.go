package unionfs

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// A route makes a name in a directory lead to another tree. It hangs on the
// node, not on a path: its parents may be moved. It can't be removed or renamed
// (EBUSY) and nothing on disk says that it exists.

// maxLinks is how many symbolic links a target may go through (the kernel's MAXSYMLINKS).
const maxLinks = 40

// Attach makes v's source appear at its target. It is called between Open and Mount,
// parents before what lies below them.
func (fs *FS) Attach(v Volume) error {
	if err := fs.attach(v); err != nil {
		return fmt.Errorf("attach %s at %s: %w", v.Source, v.Target, err)
	}
	fs.passthrough = fs.routed() && sys.HasCap(sys.CAP_SYS_ADMIN)
	return nil
}

func (fs *FS) attach(v Volume) error {
	root, err := fs.openVolume(v)
	if err != nil {
		return err
	}
	dir, nm, err := fs.target(v.Target)
	if err != nil {
		return err
	}
	if err := fs.fits(dir, nm, root.entry.Load().IsDir()); err != nil {
		return err
	}
	fs.route(dir, nm, root)
	return nil
}

// openVolume opens a source as a tree of its own.
func (fs *FS) openVolume(v Volume) (*node, error) {
	dir, file := v.Source, ""
	fd, err := sys.Open(v.Source, sys.O_PATH)
	if err != nil {
		return nil, err
	}
	defer sys.Close(fd)
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return nil, err
	}
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFDIR:
	case sys.S_IFREG:
		dir, file = path.Split(path.Clean(v.Source))
	default:
		return nil, fmt.Errorf("neither a directory nor a regular file: %w", sys.EINVAL)
	}
	l, err := layers.OpenUpper(dir, 0)
	if err != nil {
		return nil, err
	}
	t := &tree{fs: fs, shared: true, stack: &layers.Stack{Upper: l, Plain: true, IDs: fs.union.stack.IDs}}
	fs.trees = append(fs.trees, t)
	if !v.ReadOnly {
		t.writer = cow.PlainWriter(l)
	}
	e, err := t.stack.Root()
	if err != nil {
		return nil, err
	}
	if file != "" {
		e = &layers.Entry{Upper: true, Stat: layers.Compact(&st), Ino: t.stack.IDs.Number(st.Dev, st.Ino)}
	}
	t.root = fs.table.addRoot(t, e)
	if file != "" {
		pin, err := sys.Dup(fd)
		if err != nil {
			return nil, err
		}
		t.root.pin.Store(int32(pin))
	}
	return t.root, nil
}

// target finds the directory and name that a target means inside the union.
// Symbolic links are followed there, ".." stops at its root. What is missing on
// the way becomes a directory that exists only for the route.
func (fs *FS) target(p string) (dir *node, nm string, err error) {
	todo := split(p)
	dir = fs.union.root
	for links := 0; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		if c == ".." {
			dir = fs.up(dir)
			continue
		}
		next, to, err := fs.walk(dir, c)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", p, err)
		}
		if to != "" {
			if links++; links > maxLinks {
				return nil, "", fmt.Errorf("%s: %w", p, sys.ELOOP)
			}
			if strings.HasPrefix(to, "/") {
				dir = fs.union.root
			}
			todo = append(split(to), todo...)
			continue
		}
		if len(todo) == 0 {
			return dir, c, nil
		}
		if next == nil {
			next = fs.makeWay(dir, c)
		}
		if !next.entry.Load().IsDir() {
			return nil, "", fmt.Errorf("%s: %q: %w", p, c, sys.ENOTDIR)
		}
		fs.hold(next)
		dir = next
	}
	return nil, "", fmt.Errorf("%s: the root of the union can't be a volume: %w", p, sys.EINVAL)
}

func split(p string) (parts []string) {
	for _, c := range strings.Split(p, "/") {
		if c != "" && c != "." {
			parts = append(parts, c)
		}
	}
	return parts
}

func (fs *FS) up(n *node) *node {
	if at, ok := fs.table.place(n); ok {
		return at.dir
	}
	return n
}

// walk looks nm up: a node, nil for nothing, or what a symbolic link says.
func (fs *FS) walk(dir *node, nm string) (n *node, link string, err error) {
	n, _, err = fs.lookup(dir, nm, false)
	if err == sys.ENOENT {
		return nil, "", nil
	}
	if err != nil || n.entry.Load().Stat.Mode&sys.S_IFMT != sys.S_IFLNK {
		return n, "", err
	}
	fd, err := fs.pathFd(n)
	if err != nil {
		return nil, "", err
	}
	defer sys.Close(fd)
	link, err = sys.ReadlinkAt(fd, "")
	return n, link, err
}

// makeWay makes a directory that exists only for a route below it.
func (fs *FS) makeWay(dir *node, nm string) *node {
	now := sys.Timespec{Sec: time.Now().Unix()}
	st := sys.Stat{
		Mode: sys.S_IFDIR | 0o755, Nlink: 2, Blksize: 4096,
		Uid: uint32(sys.Geteuid()), Gid: uint32(sys.Getegid()), Atim: now, Mtim: now, Ctim: now,
	}
	at := layers.Join(dir.entry.Load().LowerPath(), nm)
	n := fs.table.addRoot(dir.tree, layers.BareDir(at, layers.Compact(&st), dir.tree.stack.IDs.Invent()))
	fs.route(dir, nm, n)
	return n
}

// route makes nm in dir lead to n, and both stay for ever.
func (fs *FS) route(dir *node, nm string, n *node) {
	if dir.routes == nil {
		dir.routes = make(map[string]*node)
	}
	dir.routes[nm] = n
	fs.table.mu.Lock()
	defer fs.table.mu.Unlock()
	fs.table.addName(n, dir, nm)
}

// hold keeps a node on the way to a route.
func (fs *FS) hold(n *node) {
	fs.table.mu.Lock()
	defer fs.table.mu.Unlock()
	n.kids++
}

// fits refuses a directory on a file, the reverse, and a target taken already.
func (fs *FS) fits(dir *node, nm string, isDir bool) error {
	if to := dir.routes[nm]; to != nil && to.tree != dir.tree {
		return fmt.Errorf("another volume is there: %w", sys.EEXIST)
	}
	n, _, err := fs.lookup(dir, nm, false)
	switch {
	case err == sys.ENOENT:
		return nil
	case err != nil:
		return err
	case n.entry.Load().IsDir() && !isDir:
		return fmt.Errorf("the target is a directory, the source is not: %w", sys.EISDIR)
	case !n.entry.Load().IsDir() && isDir:
		return fmt.Errorf("the source is a directory, the target is not: %w", sys.ENOTDIR)
	}
	return nil
}
