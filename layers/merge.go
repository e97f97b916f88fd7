package layers

import (
	"fmt"

	"github.com/unionmount/unionmount/layers/sys"
)

// Name is one name of a merged listing.
type Name struct {
	Name string
	Ino  uint64 // what a lookup of the name would show
	Type uint8  // DT_*
	Part int    // which of the directory's lower parts shows it, counted from the top; InUpper: upper does

	Unsure bool // Ino is the layer's own, for nobody can look the name up now
}

// InUpper is the Part of what upper shows.
const InUpper = -1

// LargestPart is the st_size that the largest part of the directory e has now, which upper has at path at.
func (s *Stack) LargestPart(e *Entry, at string) (size int64, err error) {
	add := func(l *Layer, p string) error {
		d, err := l.Dir(p)
		if err != nil {
			return err
		}
		defer d.Release()
		st, err := sys.StatAt(d.Fd, "")
		size = max(size, st.Size)
		return err
	}
	if e.Upper {
		err = add(s.Upper, at)
	}
	for _, r := range e.parts() {
		if err == nil && !r.covered {
			err = add(s.Lowers[r.Layer], r.Path)
		}
	}
	return size, err
}

// List calls visit for every name of the directory e, which upper has at path
// at; each name once, whiteouts and what they hide left out, in no order.
func (s *Stack) List(e *Entry, at string, visit func(Name) error) error {
	l := lister{stack: s, visit: visit}
	parts := e.parts()
	if e.Upper && len(parts) > 0 || len(parts) > 1 {
		l.seen = newNameSet()
	}
	if e.Upper && s.Upper != nil {
		if err := l.upper(e, at); err != nil {
			return fmt.Errorf("list %q in layer %s: %w", at, s.Upper.Path, err)
		}
	}
	for i := range parts {
		r := &parts[i]
		if r.covered {
			continue
		}
		l.last = i == len(parts)-1
		if err := l.lower(r, i); err != nil {
			return fmt.Errorf("list %q in layer %s: %w", r.Path, s.Lowers[r.Layer].Path, err)
		}
	}
	return nil
}

type lister struct {
	stack *Stack
	visit func(Name) error
	layer int      // how many were read before this one
	last  bool     // none is read after this one
	seen  *nameSet // shown or hidden by one of them; nil if there is one layer only
}

// scan reads one directory of one layer. Names hidden by it count as seen for
// the layers below, but not for itself: .wh.x may stand beside x.
func (l *lister) scan(layer *Layer, p string, xwhite bool, show func(dir int, e sys.Dirent) error) error {
	fd, err := layer.Open(p, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	defer func() { l.layer++ }()
	return sys.ReadDir(fd, func(e sys.Dirent) error {
		if e.Name == aufsSentinel && !l.stack.Plain {
			return nil
		}
		name, hides, err := l.meant(fd, e, xwhite)
		if err != nil || l.above(name) || hides {
			return err
		}
		return show(fd, e)
	})
}

// above tells whether a layer above this one shows or hides name, and notes it for those below.
func (l *lister) above(name string) bool {
	switch {
	case l.seen == nil:
		return false
	case l.last:
		return l.seen.has(name)
	}
	return l.seen.add(name, l.layer)
}

// meant is the name that e shows or hides.
func (l *lister) meant(dir int, e sys.Dirent, xwhite bool) (name string, hides bool, err error) {
	if l.stack.Plain {
		return e.Name, false, nil
	}
	if IsReserved(e.Name) {
		return e.Name[len(aufsPrefix):], true, nil
	}
	hides, err = l.isWhiteout(dir, e, xwhite)
	return e.Name, hides, err
}

func (l *lister) isWhiteout(dir int, e sys.Dirent, xwhite bool) (bool, error) {
	if e.Type != sys.DT_CHR && e.Type != sys.DT_UNKNOWN && !(xwhite && e.Type == sys.DT_REG) {
		return false, nil
	}
	st, err := sys.StatAt(dir, e.Name)
	switch err {
	case nil:
	case sys.ENOENT:
		return false, nil // gone since: it will not be found either
	case sys.EACCES:
		return e.Type == sys.DT_CHR, nil // see unsearchable: a plain user makes no other device
	default:
		return false, err
	}
	return IsWhiteout(&st) || xwhite && isXattrWhiteout(dir, e.Name, &st), nil
}

// unsearchable is what a listing shows of a name in a directory that a daemon
// without CAP_DAC_READ_SEARCH may read and not search, as its caller: whoever may
// list the directory gets its names, and nothing of them can be looked up.
func (l *lister) unsearchable(dev uint64, d sys.Dirent, part int) error {
	return l.visit(Name{Name: d.Name, Type: d.Type, Ino: l.stack.IDs.Number(dev, d.Ino), Part: part, Unsure: true})
}

func (l *lister) upper(e *Entry, at string) error {
	plain := l.stack.Plain
	if !plain && !e.HasLower() {
		d, err := l.stack.Upper.Dir(at)
		if err != nil {
			return err
		}
		plain = !l.stack.isImpure(d.Fd)
		d.Release()
	}
	return l.scan(l.stack.Upper, at, e.upperXWhiteout, func(dir int, d sys.Dirent) error {
		n := Name{Name: d.Name, Type: d.Type, Part: InUpper}
		if plain && d.Type != sys.DT_DIR && d.Type != sys.DT_UNKNOWN {
			n.Ino = l.stack.IDs.Number(uint64(e.Stat.Dev), d.Ino)
			return l.visit(n)
		}
		found, err := l.stack.Lookup(e, at, d.Name)
		switch {
		case err == sys.ENOENT:
			return nil
		case err == sys.EACCES:
			return l.unsearchable(uint64(e.Stat.Dev), d, InUpper)
		case err != nil:
			return err
		}
		n.Ino, n.Type = found.Ino, uint8(found.Stat.Mode>>12)&15
		return l.visit(n)
	})
}

func (l *lister) lower(r *Ref, part int) error {
	layer := l.stack.Lowers[r.Layer]
	return l.scan(layer, r.Path, r.xwhiteout, func(dir int, d sys.Dirent) error {
		n := Name{Name: d.Name, Type: d.Type, Ino: l.stack.IDs.Number(r.Dev, d.Ino), Part: part}
		if d.Type == sys.DT_UNKNOWN || d.Type == sys.DT_DIR {
			// The number of a mountpoint or of a btrfs subvolume is not the one getdents gives.
			st, err := sys.StatAt(dir, d.Name)
			switch {
			case err == sys.ENOENT:
				return nil
			case err == sys.EACCES:
				return l.unsearchable(r.Dev, d, part)
			case err != nil:
				return err
			}
			n.Ino, n.Type = l.stack.IDs.Number(st.Dev, st.Ino), uint8(st.Mode>>12)&15
		}
		return l.visit(n)
	})
}
