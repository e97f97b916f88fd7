package cow

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// What StageCopy copies of a file's data, other than so many bytes.
const (
	Whole  = int64(1<<63 - 1)
	NoData = int64(-1) // none where a metacopy can do (Options.Metacopy), else all
)

// StageCopy stages a copy of the lower object ref: type, data up to limit bytes
// (what a truncation is about to drop is never copied), owner, attributes, mode
// and times. The data is on disk when it returns, unless the mount is volatile.
// With NoData the copy may be a metacopy (Staged.Metacopy), whose data stays below.
func (w *Writer) StageCopy(s *layers.Stack, ref layers.Ref, limit int64) (*Staged, error) {
	st, err := w.stageCopy(s, ref, limit)
	if err != nil {
		return nil, fmt.Errorf("copy up %q of layer %s: %w", ref.Path, s.Lowers[ref.Layer].Path, err)
	}
	return st, nil
}

func (w *Writer) stageCopy(s *layers.Stack, ref layers.Ref, limit int64) (*Staged, error) {
	d, src, st, err := find(s, ref)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	out, err := w.makeLike(src, &st)
	if err != nil {
		return nil, err
	}
	if limit == NoData {
		limit, out.metacopy = Whole, w.leavesData(&st)
	}
	if err := w.fillStaged(out, s, ref, src, &st, limit); err != nil {
		out.Close()
		if out.metacopy && errors.Is(err, sys.ENOSPC) { // ext4 has one block for all attributes, the mark included
			return w.stageCopy(s, ref, Whole)
		}
		return nil, err
	}
	return out, nil
}

// find tells where the lower object ref lies, and what it is. EPERM: it is immutable. The caller releases d.
func find(s *layers.Stack, ref layers.Ref) (d *layers.Dir, src source, st sys.Stat, err error) {
	d, base, err := s.Lowers[ref.Layer].Parent(ref.Path)
	if err != nil {
		return nil, src, st, err
	}
	src = source{d.Fd, base}
	st, immutable, err := sys.StatImmutable(src.dir, src.name)
	if err == nil && immutable {
		err = sys.EPERM
	}
	if err != nil {
		d.Release()
		return nil, src, st, err
	}
	return d, src, st, nil
}

// leavesData tells whether a copy of a file with stat st shall be a metacopy. A hard link is copied whole: in the index
// no name would lead to its data, only the origin.
func (w *Writer) leavesData(st *sys.Stat) bool {
	return w.metacopy && st.Mode&sys.S_IFMT == sys.S_IFREG && st.Size > 0 && st.Nlink == 1
}

// leaveData marks the staged file as a metacopy of so many bytes (ovl_set_metacopy_xattr).
func (w *Writer) leaveData(dst int, size int64) error {
	if err := w.step("size"); err != nil {
		return err
	}
	if err := sys.Truncate(dst, size); err != nil {
		return err
	}
	return w.setMark(dst, layers.SuffixMetacopy, nil)
}

func (w *Writer) fillStaged(out *Staged, s *layers.Stack, ref layers.Ref, src source, st *sys.Stat, limit int64) error {
	dst := out.fd
	size := min(limit, st.Size)
	holds := st.Mode&sys.S_IFMT == sys.S_IFREG && size > 0
	switch {
	case out.metacopy:
		if err := w.leaveData(dst, size); err != nil {
			return err
		}
	case holds:
		if err := w.copyFrom(s, ref, dst, size); err != nil {
			return err
		}
		w.beginWriting(dst)
	}
	if err := w.stampOrigin(out, s, ref, dst, st); err != nil {
		return err
	}
	like := *st
	if size < st.Size { // a truncation follows: were it cut off by a crash, an old time would hide it
		like.Mtim.Nsec = sys.UTIME_NOW
	}
	err := w.copyMeta(dst, src, &like)
	if errors.Is(err, sys.ENOSPC) && out.origin && out.index == "" && !out.metacopy {
		// ext4 has one block for all attributes: what the file itself has comes first.
		if err = w.dropOrigin(out, dst); err == nil {
			err = w.copyMeta(dst, src, &like)
		}
	}
	if err != nil {
		return err
	}
	if holds {
		return w.settle(dst)
	}
	return nil
}

func (w *Writer) copyFrom(s *layers.Stack, ref layers.Ref, dst int, size int64) error {
	src, err := s.OpenData(ref)
	if err != nil {
		return err
	}
	defer sys.Close(src)
	return w.copyData(dst, src, size)
}

// makeLike stages an empty object of src's type. A regular file has no name where the
// file system can do without: it is then made by one change of a directory instead of three, and
// an fsync of it has no directory to write besides (ext4_sync_parent).
func (w *Writer) makeLike(src source, st *sys.Stat) (out *Staged, err error) {
	if err := w.step("make"); err != nil {
		return nil, err
	}
	out = &Staged{w: w, dir: st.Mode&sys.S_IFMT == sys.S_IFDIR}
	if w.nameless && st.Mode&sys.S_IFMT == sys.S_IFREG {
		out.fd, err = sys.OpenAt(w.work, ".", sys.O_RDWR|sys.O_TMPFILE, 0o600)
	} else {
		out.name = w.temp()
		out.fd, err = w.makeNamed(out.name, src, st)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// makeNamed makes an empty object of src's type in work and returns a descriptor: read-write for a regular file, of a
// directory one for reading, O_PATH else.
func (w *Writer) makeNamed(name string, src source, st *sys.Stat) (fd int, err error) {
	switch t := st.Mode & sys.S_IFMT; t {
	case sys.S_IFREG:
		return sys.OpenAt(w.work, name, sys.O_RDWR|sys.O_CREAT|sys.O_EXCL, 0o600)
	case sys.S_IFDIR:
		fd, err = makeDir(w.work, name)
		return fd, w.unmade(name, err)
	case sys.S_IFLNK:
		var target string
		if target, err = sys.ReadlinkAt(src.dir, src.name); err == nil {
			err = sys.SymlinkAt(target, w.work, name)
		}
	default:
		err = sys.MknodAt(w.work, name, t|0o600, st.Rdev)
	}
	if err != nil {
		return -1, err
	}
	fd, err = sys.PathAt(w.work, name)
	return fd, w.unmade(name, err)
}

// unmade removes what was just made in work, if err says that it can't be used.
func (w *Writer) unmade(name string, err error) error {
	if err != nil {
		_ = w.destroy(w.work, name) // swept at the next mount else
	}
	return err
}

// makeDir makes a directory and opens it for reading: attributes and mode go by that without a way through /proc.
func makeDir(dir int, name string) (int, error) {
	if err := sys.MkdirAt(dir, name, 0o700); err != nil {
		return -1, err
	}
	return sys.OpenAt(dir, name, sys.O_RDONLY|sys.O_DIRECTORY, 0)
}

// stampOrigin writes what keeps the object's identity: the origin and, for a
// hard link, the index name and the count of names it had below.
func (w *Writer) stampOrigin(out *Staged, s *layers.Stack, ref layers.Ref, dst int, st *sys.Stat) error {
	h, err := s.Handle(ref)
	if err != nil {
		return err
	}
	own, index := s.OwnOrigin(ref, h), ""
	linked := !out.dir && st.Nlink > 1
	if linked {
		if w.index < 0 {
			return nil // the link breaks here; an origin would make two contents one file
		}
		if index = s.IndexName(ref, st, h); layers.OwnName(index) {
			own = index
		}
	}
	if out.origin, err = w.setOrigin(dst, st.Mode, h, own); err != nil {
		return err
	}
	if !linked {
		return nil
	}
	if err := w.setMark(dst, layers.SuffixNlink, layers.NlinkMark(uint64(st.Nlink), 1)); err != nil {
		if errors.Is(err, sys.EPERM) && w.Prefix == layers.PrefixUser {
			return nil // a special file in a user.* upper: the copy leaves its links (docs/semantics.md)
		}
		return err
	}
	out.index = index
	return nil
}

// Index is the name the object gets in work/index; "" if it is published under its own name.
func (s *Staged) Index() string { return s.index }

// Metacopy tells whether the object is a file whose data stays below.
func (s *Staged) Metacopy() bool { return s.metacopy }

// HasOrigin tells whether the object says where it comes from.
func (s *Staged) HasOrigin() bool { return s.origin }

// Stat stats the staged object; its device and inode stay when it is published.
func (s *Staged) Stat() (sys.Stat, error) { return sys.StatAt(s.fd, "") }
