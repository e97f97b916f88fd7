package layers

import (
	"fmt"
	"slices"

	"github.com/unionmount/unionmount/layers/sys"
)

// verdict is what one layer says about a name; the caller goes on as it tells.
type verdict uint8

const (
	absent   verdict = iota // nothing here: ask the layer below
	hidden                  // a whiteout: stop, there is no such name
	leaf                    // no directory: it hides everything below, stop
	opaque                  // a directory that hides everything below: stop
	merging                 // a directory: go on and merge
	covering                // a directory beside its own .wh. file: as opaque
)

// Root is the entry of the union's root. It is called once, before any lookup.
func (s *Stack) Root() (*Entry, error) {
	if err := s.readRoots(); err != nil {
		return nil, err
	}
	e := &Entry{rest: &rest{lowers: s.roots}}
	var st sys.Stat
	var err error
	if s.Upper != nil {
		e.Upper = true
		if st, err = s.Upper.Stat(""); err != nil {
			return nil, err
		}
		m, err := s.readUpperRootMarks()
		if err != nil {
			return nil, err
		}
		e.upperXWhiteout = m.xwhite
		if m.opaque {
			e.DropLowers()
		}
	} else if st, err = s.Lowers[0].Stat(""); err != nil {
		return nil, err
	}
	e.Stat = Compact(&st)
	e.Ino = s.dirNumber(e)
	return e, nil
}

func (s *Stack) readUpperRootMarks() (dirMarks, error) {
	if s.Plain {
		return dirMarks{}, nil
	}
	d, err := s.Upper.Dir("")
	if err != nil {
		return dirMarks{}, err
	}
	defer d.Release()
	return s.readMarks(d.Fd, ".")
}

// readRoots describes the root of each lower.
func (s *Stack) readRoots() error {
	s.roots = make([]Ref, len(s.Lowers))
	for i, l := range s.Lowers {
		d, err := l.Dir("")
		if err != nil {
			return err
		}
		st, err := sys.StatAt(d.Fd, "")
		var m dirMarks
		if err == nil {
			m, err = s.readMarks(d.Fd, ".")
		}
		d.Release()
		if err != nil {
			return fmt.Errorf("read the root of layer %s: %w", l.Path, err)
		}
		s.roots[i] = Ref{Layer: i, Dev: st.Dev, Ino: st.Ino, xwhiteout: m.xwhite}
	}
	return nil
}

// Lookup finds name in the directory parent, which upper has at path at (if it
// has it). ENOENT: no layer has it, or a whiteout hides it. Other errors name layer and path.
func (s *Stack) Lookup(parent *Entry, at, name string) (*Entry, error) {
	e, _, err := s.Find(parent, at, name)
	return e, err
}

// Find is Lookup that tells, with ENOENT, whether upper has a whiteout there.
func (s *Stack) Find(parent *Entry, at, name string) (e *Entry, whiteout bool, err error) {
	if !s.Plain && IsReserved(name) {
		return nil, false, sys.ENOENT
	}
	v, m := absent, dirMarks{}
	e = new(Entry)
	if parent.Upper && s.Upper != nil {
		if v, m, err = s.peekUpper(parent, at, name, e); err != nil {
			return nil, false, s.wrap(s.Upper, Join(at, name), err)
		}
	}
	e, err = s.below(parent, e, name, v, m.redirect)
	return e, v == hidden, err
}

// below completes e, of which upper says v, with what the lowers have.
func (s *Stack) below(parent, e *Entry, name string, v verdict, redirect string) (*Entry, error) {
	switch {
	case v == hidden:
		return nil, sys.ENOENT
	case v == leaf, v == opaque, v == covering:
		return e, nil
	case redirect != "":
		return s.redirected(parent, e, redirect)
	}
	return s.withLowers(parent, e, parent.parts(), name)
}

// LookupIn is Lookup of a name that a listing of parent has just shown as no directory, in one of its lower parts: no
// other layer needs to be asked. The caller makes sure that nobody has changed the directory since. ESTALE: somebody has.
func (s *Stack) LookupIn(parent *Entry, part int, name string) (*Entry, error) {
	if part >= len(parent.parts()) {
		return nil, sys.ESTALE
	}
	r := parent.parts()[part]
	l := s.Lowers[r.Layer]
	d, err := l.Dir(r.Path)
	if err != nil {
		return nil, s.wrap(l, r.Path, err)
	}
	st, err := sys.StatAt(d.Fd, name)
	d.Release()
	switch {
	case err != nil:
		return nil, s.wrap(l, Join(r.Path, name), err)
	case st.Mode&sys.S_IFMT == sys.S_IFDIR:
		return nil, sys.ESTALE
	}
	return s.lowerLeaf(new(Entry), Ref{Layer: r.Layer, Path: Join(r.Path, name), Dev: st.Dev, Ino: st.Ino}, st)
}

// redirected completes an upper directory whose lower part lies elsewhere.
func (s *Stack) redirected(parent, e *Entry, redirect string) (*Entry, error) {
	if redirect[0] == '/' {
		refs, err := s.resolve(0, redirect)
		if err != nil {
			return nil, err
		}
		e.setLowerPath(redirect[1:])
		e.setParts(refs)
		e.Ino = s.dirNumber(e)
		return e, nil
	}
	return s.withLowers(parent, e, parent.parts(), redirect)
}

// withLowers completes e with what the lowers have, if upper's part (if any) merges.
func (s *Stack) withLowers(parent, e *Entry, lowers []Ref, name string) (*Entry, error) {
	refs, st, err := s.mergeLowers(lowers, name)
	if err != nil {
		return nil, err
	}
	dir := len(refs) > 0 && st.Mode&sys.S_IFMT == sys.S_IFDIR
	if dir {
		e.setLowerPath(Join(parent.LowerPath(), name))
	}
	switch {
	case e.Upper:
		if dir {
			e.setParts(refs)
		}
		if e.HasLower() || e.Ino == 0 {
			e.Ino = s.dirNumber(e)
		}
		return e, nil
	case len(refs) == 0:
		return nil, sys.ENOENT
	case dir:
		e.setParts(refs)
		e.Stat = Compact(&st)
		e.Ino = s.dirNumber(e)
		return e, nil
	}
	return s.lowerLeaf(e, refs[0], st)
}

// lowerLeaf completes the entry of a lower object that is no directory; a hard
// link that was copied up by another name is found in the index.
func (s *Stack) lowerLeaf(e *Entry, ref Ref, st sys.Stat) (*Entry, error) {
	e.layer, e.path, e.Stat = uint16(ref.Layer), ref.Path, Compact(&st)
	e.Ino = s.IDs.Number(ref.Dev, ref.Ino)
	name, got, err := s.indexed(ref, &st)
	if err != nil {
		return nil, s.wrap(s.Lowers[ref.Layer], ref.Path, err)
	}
	if name != "" {
		e.CopyUp(&got, name)
		if e.IsRegular() {
			data, err := s.indexedData(ref, name)
			e.setData(data)
			return e, err
		}
		return e, nil
	}
	e.Stat.Blocks = s.blocksOf(ref, &st)
	return e, nil
}

// peekUpper asks the upper and fills e with its part.
func (s *Stack) peekUpper(parent *Entry, at, name string, e *Entry) (verdict, dirMarks, error) {
	d, err := s.Upper.Dir(at)
	if err != nil {
		return absent, dirMarks{}, err
	}
	defer d.Release()
	v, m, st, err := s.peek(d.Fd, name, parent.upperXWhiteout, parent.HasLower())
	if err != nil || v == absent || v == hidden {
		return v, m, err
	}
	e.Upper, e.Stat = true, Compact(&st)
	e.upperXWhiteout = m.xwhite
	if s.Plain {
		e.Ino = s.IDs.Number(st.Dev, st.Ino)
		return v, m, nil
	}
	names := m.names
	if v == leaf {
		if names, err = sys.ListXattrAt(d.Fd, name); err != nil && err != sys.ENOTSUP {
			return v, m, err
		}
	}
	number, index, err := s.originOf(d.Fd, name, names)
	if err != nil {
		return v, m, err
	}
	if e.IsRegular() {
		e.setData(s.upperData(parent, d.Fd, name, names))
	}
	if number == 0 {
		number = s.IDs.Number(st.Dev, st.Ino)
	}
	e.Ino = number
	if v == leaf && st.Nlink > 1 && index != "" && s.Index != nil {
		if got, err := s.Index.Stat(index); err == nil && got.Ino == st.Ino {
			e.alter(func(r *rest) { r.index = index })
		}
	}
	return v, m, nil
}

// peek asks one directory about one name. below: there are layers that a .wh. file could hide.
func (s *Stack) peek(dir int, name string, xwhite, below bool) (verdict, dirMarks, sys.Stat, error) {
	st, err := sys.StatAt(dir, name)
	if err == sys.ENOENT && below && !s.Plain {
		hides, err := aufsHides(dir, name)
		if err == nil && hides {
			return hidden, dirMarks{}, st, nil
		}
		return absent, dirMarks{}, st, err
	}
	if err == sys.ENOENT {
		return absent, dirMarks{}, st, nil
	}
	if err != nil {
		return absent, dirMarks{}, st, err
	}
	if s.Plain {
		return leafOr(merging, &st), dirMarks{}, st, nil
	}
	if IsWhiteout(&st) || xwhite && isXattrWhiteout(dir, name, &st) {
		return hidden, dirMarks{}, st, nil
	}
	if st.Mode&sys.S_IFMT != sys.S_IFDIR {
		return leaf, dirMarks{}, st, nil
	}
	m, err := s.readMarks(dir, name)
	if err != nil {
		return absent, m, st, err
	}
	if m.opaque {
		return opaque, m, st, nil
	}
	if below && m.redirect == "" {
		if hides, err := aufsHides(dir, name); err != nil || hides {
			return covering, m, st, err
		}
	}
	return merging, m, st, nil
}

func leafOr(v verdict, st *sys.Stat) verdict {
	if st.Mode&sys.S_IFMT == sys.S_IFDIR {
		return v
	}
	return leaf
}

// mergeLowers asks the lower parts of a directory, topmost first, and returns
// what makes up name and the stat of its topmost object; no refs: not there.
func (s *Stack) mergeLowers(lowers []Ref, name string) (refs []Ref, top sys.Stat, err error) {
	for i := 0; i < len(lowers); i++ {
		r := lowers[i]
		if r.covered {
			continue
		}
		l := s.Lowers[r.Layer]
		d, err := l.Dir(r.Path)
		if err != nil {
			return nil, top, s.wrap(l, r.Path, err)
		}
		v, m, st, err := s.peek(d.Fd, name, r.xwhiteout, i < len(lowers)-1)
		covered := st.Mode&sys.S_IFMT == sys.S_IFDIR && st.Dev != r.Dev && sys.MountRoot(d.Fd, name)
		if covered {
			v, m = merging, dirMarks{} // the marks are of what is mounted there
		}
		d.Release()
		if err != nil {
			return nil, top, s.wrap(l, Join(r.Path, name), err)
		}
		if v == absent {
			continue
		}
		if v == hidden || v == leaf && len(refs) > 0 {
			return refs, top, nil
		}
		if len(refs) == 0 {
			top = st
		}
		refs = append(refs, Ref{Layer: r.Layer, Path: Join(r.Path, name), Dev: st.Dev, Ino: st.Ino, xwhiteout: m.xwhite, covered: covered})
		if v != merging {
			return refs, top, nil
		}
		if m.redirect == "" {
			continue
		}
		if m.redirect[0] == '/' {
			more, err := s.resolve(r.Layer+1, m.redirect)
			return append(refs, more...), top, err
		}
		name = m.redirect
	}
	return refs, top, nil
}

// LowerHas tells whether the lowers show name in the directory parent: whether
// an upper name there needs a whiteout when it goes.
func (s *Stack) LowerHas(parent *Entry, name string) (bool, error) {
	refs, _, err := s.mergeLowers(parent.parts(), name)
	return len(refs) > 0, err
}

// dirNumber draws a directory's number: that of its topmost lower part, so that copy-up doesn't change it.
func (s *Stack) dirNumber(e *Entry) uint64 {
	if e.HasLower() {
		top := e.Lower()
		return s.IDs.Number(top.Dev, top.Ino)
	}
	if e.Ino != 0 {
		return e.Ino
	}
	return s.IDs.Number(uint64(e.Stat.Dev), e.Stat.Ino)
}

// wrap names layer and path in an error that isn't part of every day's work.
func (s *Stack) wrap(l *Layer, p string, err error) error {
	switch err {
	case sys.ENOENT, sys.ENAMETOOL, sys.EACCES, sys.ENOTDIR:
		return err
	}
	return fmt.Errorf("look up %q in layer %s: %w", p, l.Path, err)
}

// Lost tells whether a layer no longer has what e shows of it.
func (s *Stack) Lost(e *Entry) bool {
	refs := e.parts()
	if !e.IsDir() && !e.Upper && e.HasLower() {
		refs = []Ref{e.Lower()}
	}
	return slices.ContainsFunc(refs, func(r Ref) bool {
		st, err := s.Lowers[r.Layer].Stat(r.Path)
		return err == sys.ENOENT || err == nil && st.Nlink == 0
	})
}

// LookupLower stats what the lowers alone show as name in parent. ENOENT: nothing.
func (s *Stack) LookupLower(parent *Entry, name string) (sys.Stat, error) {
	refs, st, err := s.mergeLowers(parent.parts(), name)
	if err == nil && len(refs) == 0 {
		err = sys.ENOENT
	}
	return st, err
}
