package tree

import (
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Builder makes objects below a root that nobody else uses. One goroutine at a time.
type Builder struct {
	Lost Lost

	root int
	at   string // of dir
	dir  int    // the directory that was used last; -1: none
}

// NewBuilder builds below root, which must be empty and stays the caller's. What it
// would pass on to new objects is taken off it.
func NewBuilder(root int) (*Builder, error) {
	for _, acl := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		if err := sys.RemoveXattrFd(root, acl); err != nil && err != sys.ENODATA && err != sys.ENOTSUP {
			return nil, err
		}
	}
	return &Builder{root: root, dir: -1}, nil
}

// Close gives up what the builder holds.
func (b *Builder) Close() {
	if b.dir >= 0 {
		_ = sys.Close(b.dir) // O_PATH
		b.dir = -1
	}
}

// parent opens the directory in which path is.
func (b *Builder) parent(path string) (dir int, name string, err error) {
	at, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		at, name = path[:i], path[i+1:]
	}
	if b.dir >= 0 && b.at == at {
		return b.dir, name, nil
	}
	if dir, err = sys.OpenBeneath(b.root, at, sys.O_PATH|sys.O_DIRECTORY, 0); err != nil {
		return -1, "", err
	}
	b.Close()
	b.at, b.dir = at, dir
	return dir, name, nil
}

// Make makes an empty object of a's type that only its owner may use; EEXIST if the name is taken.
func (b *Builder) Make(path string, a *Attr) error {
	dir, name, err := b.parent(path)
	if err != nil {
		return wrap("make", path, err)
	}
	switch a.Kind() {
	case sys.S_IFDIR:
		err = sys.MkdirAt(dir, name, 0o700)
	case sys.S_IFLNK:
		err = sys.SymlinkAt(a.Target, dir, name)
	default:
		err = sys.MknodAt(dir, name, a.Kind()|0o600, a.Rdev)
	}
	return wrap("make", path, err)
}

// Link makes path another name of old, which is no directory.
func (b *Builder) Link(old, path string) error {
	dir, name, err := b.parent(path)
	if err != nil {
		return wrap("link", path, err)
	}
	fd, err := sys.OpenBeneath(b.root, old, sys.O_PATH, 0)
	if err != nil {
		return wrap("link "+path+" to", old, err)
	}
	defer sys.Close(fd)
	return wrap("link", path, sys.LinkFd(fd, dir, name))
}

// Open opens a regular file that was made, for writing.
func (b *Builder) Open(path string) (int, error) {
	dir, name, err := b.parent(path)
	if err == nil {
		dir, err = sys.OpenAt(dir, name, sys.O_WRONLY, 0)
	}
	return dir, wrap("open", path, err)
}

// Dress gives the object at path owner, attributes, mode and times. A directory's
// turn is when everything is in it.
func (b *Builder) Dress(path string, a *Attr) error {
	fd, err := sys.OpenBeneath(b.root, path, sys.O_PATH, 0)
	if err != nil {
		return wrap("finish", path, err)
	}
	defer sys.Close(fd)
	return wrap("finish", path, a.dress(fd, &b.Lost))
}
