package layers

import (
	"fmt"
	"slices"

	"github.com/unionmount/unionmount/layers/sys"
)

// SuffixMetacopy marks a regular file that was copied up without its data
// (metacopy=on): all but the data is its own. The data is that of the regular
// file below it, under the same name or where its redirect leads, which may be a
// metacopy again (ovl_check_metacopy_xattr, ovl_lookup). We write no redirect
// on a file: it gets its data before it moves.
const SuffixMetacopy = "metacopy"

// Data says where the data of an upper metacopy lies. Immutable.
type Data struct {
	Ref    Ref
	Blocks int64 // st_blocks of that file
	Err    error // why the data can't be had; Ref is void then
}

// OpenData opens the data of the lower file ref for reading: its own or, of a metacopy, that below.
func (s *Stack) OpenData(ref Ref) (int, error) {
	fd, err := s.Lowers[ref.Layer].Open(ref.Path, sys.O_RDONLY)
	if err == nil {
		if !sys.MayHaveXattr(fd, SuffixMetacopy) {
			return fd, nil
		}
		_ = sys.Close(fd) // nothing was written to it
	}
	at, err := s.data(ref)
	if err != nil {
		return -1, err
	}
	return s.Lowers[at.Layer].Open(at.Path, sys.O_RDONLY)
}

// data follows metacopy marks from the lower file ref on.
func (s *Stack) data(ref Ref) (Ref, error) {
	for {
		l := s.Lowers[ref.Layer]
		d, base, err := l.Parent(ref.Path)
		if err != nil {
			return ref, err
		}
		names, err := sys.ListXattrAt(d.Fd, base)
		var m metacopy
		if err == nil {
			m, err = s.readMetacopy(d.Fd, base, names, overlayPrefixes[:])
		}
		d.Release()
		if err == sys.ENOTSUP || err == nil && !m.is {
			return ref, nil
		}
		if err == nil {
			ref, err = s.dataBelow(ref, m.redirect)
		}
		if err != nil {
			return ref, s.wrap(l, ref.Path, err)
		}
	}
}

// dataBelow finds what the lower metacopy ref stands for in the layers below its own.
func (s *Stack) dataBelow(ref Ref, redirect string) (Ref, error) {
	dir, name := Split(ref.Path)
	refs, err := s.resolve(ref.Layer, dir)
	if err != nil {
		return ref, err
	}
	below := refs[min(1, len(refs)):] // the first is in ref's own layer
	return s.findData(below, ref.Layer+1, name, redirect)
}

// findData finds the file that a metacopy called name stands for, in the
// directories lowers or, by an absolute redirect, in the layers from first on.
func (s *Stack) findData(lowers []Ref, first int, name, redirect string) (ref Ref, err error) {
	switch {
	case redirect == "":
	case redirect[0] != '/':
		name = redirect
	default:
		var dir string
		dir, name = Split(redirect[1:])
		if lowers, err = s.resolve(first, dir); err != nil {
			return ref, err
		}
	}
	refs, st, err := s.mergeLowers(lowers, name)
	if err != nil {
		return ref, err
	}
	if len(refs) == 0 || st.Mode&sys.S_IFMT != sys.S_IFREG {
		return ref, fmt.Errorf("metacopy whose data is missing: no regular file %q in the layers below: %w", name, sys.EIO)
	}
	return refs[0], nil
}

// metacopy is what the marks of a regular file say.
type metacopy struct {
	is       bool
	redirect string // "": the same name
}

// readMetacopy reads the marks among the attributes names. A mark that must not
// be followed is an error: without its data the file would read as zeros.
func (s *Stack) readMetacopy(dir int, name string, names, prefixes []string) (m metacopy, err error) {
	for _, prefix := range prefixes {
		if !slices.Contains(names, prefix+SuffixMetacopy) {
			continue
		}
		m.is = true
		if prefix == PrefixUser && !s.FollowUser {
			return m, fmt.Errorf("metacopy by a mark in user.*, which may be anybody's: it is followed with userxattr,redirect_dir=on only: %w", sys.EIO)
		}
		if !slices.Contains(names, prefix+SuffixRedirect) {
			return m, nil
		}
		if s.NoFollow {
			return m, fmt.Errorf("metacopy with a redirect, which redirect_dir=nofollow doesn't follow: %w", sys.EIO)
		}
		v, err := sys.GetXattrAt(dir, name, prefix+SuffixRedirect)
		if err == nil {
			m.redirect, err = checkRedirect(string(v))
		}
		return m, err
	}
	return m, nil
}

// upperData tells where the data of the upper file name in dir lies, whose
// attributes are names; nil: it has its own. parent is the directory's entry.
func (s *Stack) upperData(parent *Entry, dir int, name string, names []string) *Data {
	m, err := s.readMetacopy(dir, name, names, []string{s.MarksPrefix})
	if err == nil && !m.is {
		return nil
	}
	var ref Ref
	if err == nil {
		ref, err = s.findData(parent.parts(), 0, name, m.redirect)
	}
	return s.describeData(ref, err)
}

// indexedData is upperData for the index entry of the lower file ref.
func (s *Stack) indexedData(ref Ref, index string) (*Data, error) {
	names, err := s.Index.marks(index)
	if err != nil || !slices.Contains(names, s.MarksPrefix+SuffixMetacopy) {
		return nil, err
	}
	return s.DataOf(ref), nil
}

// DataOf tells where the data of an upper file lies that is a metacopy of the lower file ref.
func (s *Stack) DataOf(ref Ref) *Data { return s.describeData(ref, nil) }

func (s *Stack) describeData(ref Ref, err error) *Data {
	if err == nil {
		ref, err = s.data(ref)
	}
	var st sys.Stat
	if err == nil {
		st, err = s.Lowers[ref.Layer].Stat(ref.Path)
	}
	return &Data{Ref: ref, Blocks: st.Blocks, Err: err}
}

// blocksOf is st_blocks of the lower file ref's data. Only a file with holes can
// be a metacopy that matters here; the others aren't asked.
func (s *Stack) blocksOf(ref Ref, st *sys.Stat) int64 {
	if st.Mode&sys.S_IFMT != sys.S_IFREG || st.Blocks*512 >= st.Size {
		return st.Blocks
	}
	if at, err := s.data(ref); err == nil && at.Layer != ref.Layer {
		if below, err := s.Lowers[at.Layer].Stat(at.Path); err == nil {
			return below.Blocks
		}
	}
	return st.Blocks
}
