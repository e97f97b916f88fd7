package cow

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Tree copies what a union shows out of it, into a directory where marks mean
// nothing. It keeps owners, modes, attributes, times, hard links and holes.
type Tree struct {
	From  *layers.Stack
	NoACL bool

	// Skip is told what a plain user may not copy: an owner, an attribute, a device, a
	// file closed to him. The rest is copied.
	Skip func(path string, err error)

	w     *Writer
	root  int               // of the copy
	links map[uint64]string // union's number of a file with several names: where it was copied to
}

// Copy makes the empty directory behind to (open for reading) hold what the directory e
// of the stack holds, which its upper has at path at. Nothing is synced.
func (t *Tree) Copy(e *layers.Entry, at string, to int) error {
	t.w, t.root, t.links = &Writer{plain: true, noACL: t.NoACL}, to, make(map[uint64]string)
	return t.passed("", t.dir(e, at, to, ""))
}

// source opens an O_PATH descriptor of what an entry shows.
func (t *Tree) source(e *layers.Entry, at string) (int, error) {
	switch {
	case e.Index() != "":
		return t.From.Index.PathFd(e.Index())
	case e.Upper:
		return t.From.Upper.PathFd(at)
	}
	below := e.Lower()
	return t.From.Lowers[below.Layer].PathFd(below.Path)
}

// dir copies the content of a directory, then what it is itself: its times last.
func (t *Tree) dir(e *layers.Entry, at string, to int, shown string) error {
	var names []string
	err := t.From.List(e, at, func(n layers.Name) error { names = append(names, n.Name); return nil })
	if err != nil {
		return err
	}
	for _, n := range names {
		child, err := t.From.Lookup(e, at, n)
		if err == sys.ENOENT {
			continue
		}
		if err == nil {
			err = t.object(child, layers.Join(at, n), to, n, layers.Join(shown, n))
		}
		if err = t.passed(layers.Join(shown, n), err); err != nil {
			return fmt.Errorf("copy %q: %w", layers.Join(shown, n), err)
		}
	}
	from, err := t.source(e, at)
	if err != nil {
		return err
	}
	defer sys.Close(from)
	return t.meta(to, from, e.Stat.Full(), shown)
}

// passed tells Skip of what a plain user may not do.
func (t *Tree) passed(path string, err error) error {
	if errors.Is(err, sys.EPERM) || errors.Is(err, sys.EACCES) {
		t.Skip(path, err)
		return nil
	}
	return err
}

func (t *Tree) object(e *layers.Entry, at string, to int, name, shown string) error {
	linked := !e.IsDir() && e.Stat.Nlink > 1
	if first, ok := t.links[e.Ino]; ok && linked {
		return t.link(first, to, name)
	}
	from, err := t.source(e, at)
	if err != nil {
		return err
	}
	defer sys.Close(from)
	if err := t.make(e, from, to, name); err != nil {
		return err
	}
	if linked {
		t.links[e.Ino] = shown
	}
	if e.IsDir() {
		fd, err := sys.OpenAt(to, name, sys.O_RDONLY|sys.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer sys.Close(fd)
		if err := t.dir(e, at, fd, shown); err != nil {
			_ = sys.RmdirAt(to, name) // as below
			return err
		}
		return nil
	}
	if e.IsRegular() {
		if err := t.data(e, from, to, name); err != nil {
			_ = sys.UnlinkAt(to, name) // no empty file in the place of one that can't be read
			return err
		}
	}
	fd, err := sys.PathAt(to, name)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return t.meta(fd, from, e.Stat.Full(), shown)
}

// make makes an empty object of the entry's type.
func (t *Tree) make(e *layers.Entry, from, to int, name string) error {
	switch kind := e.Stat.Mode & sys.S_IFMT; kind {
	case sys.S_IFDIR:
		return sys.MkdirAt(to, name, 0o700)
	case sys.S_IFLNK:
		target, err := sys.ReadlinkAt(from, "")
		if err != nil {
			return err
		}
		return sys.SymlinkAt(target, to, name)
	default:
		return sys.MknodAt(to, name, kind|0o600, uint64(e.Stat.Rdev))
	}
}

func (t *Tree) link(first string, to int, name string) error {
	fd, err := sys.OpenBeneath(t.root, first, sys.O_PATH, 0)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return sys.LinkFd(fd, to, name)
}

// open opens the data of a file, which for a metacopy lies below it.
func (t *Tree) open(e *layers.Entry, from int) (int, error) {
	if data := e.Data(); data != nil {
		if data.Err != nil {
			return -1, data.Err
		}
		return t.From.OpenData(data.Ref)
	}
	if !e.Upper {
		return t.From.OpenData(e.Lower())
	}
	return sys.Reopen(from, sys.O_RDONLY)
}

func (t *Tree) data(e *layers.Entry, from, to int, name string) error {
	src, err := t.open(e, from)
	if err != nil {
		return err
	}
	defer sys.Close(src)
	st, err := sys.StatFd(src)
	if err != nil {
		return err
	}
	dst, err := sys.OpenAt(to, name, sys.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = t.w.copyData(dst, src, st.Size)
	if closeErr := sys.Close(dst); err == nil {
		err = closeErr
	}
	return err
}

// meta is copyMeta for a copy that carries no marks: names that a user gave are as he gave them.
func (t *Tree) meta(to, from int, st sys.Stat, shown string) error {
	if err := t.w.chown(to, st.Uid, st.Gid); err != nil {
		if err := t.passed(shown, fmt.Errorf("give it to %d:%d: %w", st.Uid, st.Gid, err)); err != nil {
			return err
		}
	}
	names, err := sys.ListXattrFd(from)
	if err != nil && err != sys.ENOTSUP {
		return err
	}
	for _, stored := range names {
		n, show := layers.Shown(stored)
		if !show || t.NoACL && isACL(n) {
			continue
		}
		v, err := sys.GetXattrFd(from, stored)
		if err == sys.ENODATA {
			continue
		}
		if err == nil {
			err = sys.SetXattrFd(to, n, v, 0)
		}
		if err == nil {
			continue
		}
		named := fmt.Errorf("attribute %s: %w", n, err)
		if t.passed(shown, named) != nil && mustKeep(n, err) {
			return named
		}
	}
	if st.Mode&sys.S_IFMT != sys.S_IFLNK {
		if err := sys.ChmodFd(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	return sys.UtimesFd(to, st.Atim, st.Mtim)
}
