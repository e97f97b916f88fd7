// Package treehash describes a directory tree to the last attribute and names what differs between two descriptions.
// It proves that lower trees are never changed, and that a union equals a plain copy.
//
// Hashing changes nothing, access times included: as root the tree is read through a private noatime clone of its
// mount; else by O_NOATIME, which the owner of a file may use. What remains (a plain user reading links, or files of
// others) may change an access time, so there a symlink's access time is left out.
package treehash

import (
	"fmt"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// Options chooses the attributes on which trees are compared beyond those that always count: type, mode, owner,
// size and content of non-directories, device number, link target, extended attributes, hard-link structure, mtime.
type Options struct {
	// Atime compares access times.
	Atime bool
	// Nlink compares the link counts of non-directories. The links visible in the tree are compared in any case.
	Nlink bool
	// DirNlink compares the link counts of directories, which filesystems count differently.
	DirNlink bool
}

// Entry is one object of a tree. Objects that can't be read keep the error in place of what it hid, so that two
// trees that refuse alike are equal.
type Entry struct {
	Mode     uint32
	UID, GID uint32
	Size     int64 // not of directories
	Nlink    uint64
	Rdev     uint64
	Mtime    int64 // nanoseconds
	Atime    int64 // nanoseconds
	Content  string
	Target   string
	Xattrs   string // name=quoted value, sorted
	Link     string // first path of those that are the same object, when there are several

	// Ino and Dev are for the caller; Diff ignores them.
	Ino, Dev uint64
}

// Tree maps each path below the root, and "." for the root, to what is there.
type Tree map[string]Entry

// Hash describes the tree at root. It does not descend into other mounts.
func Hash(root string, opt Options) (Tree, error) {
	w := walk{opt: opt, tree: Tree{}, first: map[inode]string{}}
	base := root
	if opt.Atime {
		fd, err := cloneNoatime(root)
		if err == nil {
			defer unix.Close(fd)
			base = fmt.Sprintf("/proc/self/fd/%d", fd)
			w.noatime = true
		}
	}
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "hash", Path: root, Err: err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, &os.PathError{Op: "hash", Path: root, Err: err}
	}
	w.dev = st.Dev
	if err := w.visit(fmt.Sprintf("/proc/self/fd/%d/.", dir), "."); err != nil {
		return nil, fmt.Errorf("hash %s: %w", root, err)
	}
	w.nameLinks()
	return w.tree, nil
}

type inode struct{ dev, ino uint64 }

// walk is the state of one Hash.
type walk struct {
	opt     Options
	noatime bool // the mount itself keeps access times still
	dev     uint64
	tree    Tree
	first   map[inode]string
	several map[inode]bool
}

// visit describes the object at path, named rel in the tree, and all below it.
func (w *walk) visit(path, rel string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == unix.EACCES {
		w.tree[rel] = Entry{Content: errno(err)} // listed, in a directory that may not be searched
		return nil
	} else if err != nil {
		return &os.PathError{Op: "lstat", Path: rel, Err: err}
	}
	w.remember(rel, &st)
	names, readErr := w.describe(path, rel, &st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Dev != w.dev {
		return nil
	}
	if readErr != nil {
		return nil // described: the entry holds the error
	}
	for _, name := range names {
		below := name
		if rel != "." {
			below = rel + "/" + name
		}
		if err := w.visit(path+"/"+name, below); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps which paths are one object.
func (w *walk) remember(rel string, st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return
	}
	key := inode{uint64(st.Dev), st.Ino}
	old, seen := w.first[key]
	if !seen {
		w.first[key] = rel
		return
	}
	if w.several == nil {
		w.several = map[inode]bool{}
	}
	w.several[key] = true
	if rel < old {
		w.first[key] = rel
	}
}

// nameLinks writes the hard-link structure into the entries.
func (w *walk) nameLinks() {
	for rel, e := range w.tree {
		key := inode{e.Dev, e.Ino}
		if e.Mode&unix.S_IFMT != unix.S_IFDIR && w.several[key] {
			e.Link = w.first[key]
			w.tree[rel] = e
		}
	}
}

// Paths lists the paths of the tree, sorted.
func (t Tree) Paths() []string {
	out := make([]string, 0, len(t))
	for p := range t {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}
