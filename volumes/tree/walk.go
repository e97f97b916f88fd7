package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/unionmount/unionmount/layers/sys"
)

// ErrMounted: something is mounted inside the tree, and hides what lies below.
var ErrMounted = errors.New("something is mounted there")

// Node is an object of a tree, as long as it is visited.
type Node struct {
	Path string // below the root; "" is the root
	Fd   int    // O_PATH
	Stat sys.Stat
}

// Walk calls visit for every object below root, the root first, a directory before
// what is in it, names in byte order. A directory's visit may return what is to be
// done after its content. live: what vanishes meanwhile is passed over.
func Walk(ctx context.Context, root int, live bool, visit func(*Node) (leave func() error, err error)) error {
	mount, err := sys.MountID(root)
	if err != nil {
		return err
	}
	w := walker{ctx: ctx, root: root, mount: mount, live: live, visit: visit}
	return w.object("")
}

type walker struct {
	ctx   context.Context
	root  int
	mount int
	live  bool
	visit func(*Node) (func() error, error)
}

func (w *walker) object(path string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	names, leave, err := w.enter(path)
	if err != nil {
		if w.live && path != "" && (errors.Is(err, sys.ENOENT) || errors.Is(err, sys.ENOTDIR) || errors.Is(err, sys.ELOOP)) {
			return nil // gone, or something else by now
		}
		return err
	}
	for _, n := range names {
		if err := w.object(Join(path, n)); err != nil {
			return err
		}
	}
	if leave != nil {
		return leave()
	}
	return nil
}

// enter visits one object and lists a directory.
func (w *walker) enter(path string) (names []string, leave func() error, err error) {
	fd, err := sys.OpenBeneath(w.root, path, sys.O_PATH, 0)
	if err != nil {
		return nil, nil, wrap("open", path, err)
	}
	defer sys.Close(fd)
	n := Node{Path: path, Fd: fd}
	if n.Stat, err = sys.StatAt(fd, ""); err != nil {
		return nil, nil, wrap("stat", path, err)
	}
	switch mount, err := sys.MountID(fd); {
	case err != nil:
		return nil, nil, wrap("stat", path, err)
	case mount != w.mount:
		return nil, nil, wrap("read", path, fmt.Errorf("%w: unmount it first", ErrMounted))
	}
	if leave, err = w.visit(&n); err != nil || n.Stat.Mode&sys.S_IFMT != sys.S_IFDIR {
		return nil, nil, err
	}
	dir, err := n.Open(sys.O_DIRECTORY)
	if err != nil {
		return nil, nil, err
	}
	defer sys.Close(dir)
	err = sys.ReadDir(dir, func(e sys.Dirent) error { names = append(names, e.Name); return nil })
	slices.Sort(names)
	return names, leave, wrap("list", path, err)
}

// Open opens a regular file or a directory for reading, without touching its access time where that may be.
func (n *Node) Open(flags int) (int, error) {
	fd, err := sys.Reopen(n.Fd, sys.O_RDONLY|sys.O_NOATIME|flags)
	if err == sys.EPERM {
		fd, err = sys.Reopen(n.Fd, sys.O_RDONLY|flags)
	}
	return fd, wrap("open", n.Path, err)
}

// Join puts a name below a path; "" is the root.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func wrap(what, path string, err error) error {
	if err == nil {
		return nil
	}
	if path == "" {
		path = "."
	}
	return fmt.Errorf("%s %q: %w", what, path, err)
}
