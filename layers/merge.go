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
}

// List calls visit for every name of the directory e, which upper has at path
// at; each name once, whiteouts and what they hide left out, in no order.
func (s *Stack) List(e *Entry, at string, visit func(Name) error) error {
	l := lister{stack: s, visit: visit}
	parts := e.parts()
	if e.Upper && len(parts) > 0 || len(parts) > 1 {
		l.seen = make(map[string]struct{})
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
		if err := l.lower(r, i == len(parts)-1); err != nil {
			return fmt.Errorf("list %q in layer %s: %w", r.Path, s.Lowers[r.Layer].Path, err)
		}
	}
	return nil
}

type lister struct {
	stack *Stack
	visit func(Name) error
	seen  map[string]struct{} // shown or hidden by a layer above; nil if there is one layer only
}

// scan reads one directory of one layer. Names hidden by it count as seen for
// the layers below, but not for itself: .wh.x may stand beside x.
func (l *lister) scan(layer *Layer, p string, xwhite bool, show func(dir int, e sys.Dirent) error) error {
	fd, err := layer.Open(p, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	var hides, shown []string
	err = sys.ReadDir(fd, func(e sys.Dirent) error {
		if !l.stack.Plain {
			if e.Name == aufsSentinel {
				return nil
			}
			if IsReserved(e.Name) {
				hides = append(hides, e.Name[len(aufsPrefix):])
				return nil
			}
			white, err := l.isWhiteout(fd, e, xwhite)
			if err != nil {
				return err
			}
			if white {
				hides = append(hides, e.Name)
				return nil
			}
		}
		if _, ok := l.seen[e.Name]; ok {
			return nil
		}
		if l.seen != nil {
			shown = append(shown, e.Name)
		}
		return show(fd, e)
	})
	if l.seen != nil {
		for _, names := range [...][]string{hides, shown} {
			for _, n := range names {
				l.seen[n] = struct{}{}
			}
		}
	}
	return err
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
func (l *lister) unsearchable(dev uint64, d sys.Dirent) error {
	return l.visit(Name{Name: d.Name, Type: d.Type, Ino: l.stack.IDs.Number(dev, d.Ino)})
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
		n := Name{Name: d.Name, Type: d.Type}
		if plain && d.Type != sys.DT_DIR && d.Type != sys.DT_UNKNOWN {
			n.Ino = l.stack.IDs.Number(uint64(e.Stat.Dev), d.Ino)
			return l.visit(n)
		}
		found, err := l.stack.Lookup(e, at, d.Name)
		switch {
		case err == sys.ENOENT:
			return nil
		case err == sys.EACCES:
			return l.unsearchable(uint64(e.Stat.Dev), d)
		case err != nil:
			return err
		}
		n.Ino, n.Type = found.Ino, uint8(found.Stat.Mode>>12)&15
		return l.visit(n)
	})
}

func (l *lister) lower(r *Ref, last bool) error {
	layer := l.stack.Lowers[r.Layer]
	return l.scan(layer, r.Path, r.xwhiteout, func(dir int, d sys.Dirent) error {
		n := Name{Name: d.Name, Type: d.Type, Ino: l.stack.IDs.Number(r.Dev, d.Ino)}
		if d.Type == sys.DT_UNKNOWN || d.Type == sys.DT_DIR {
			// The number of a mountpoint or of a btrfs subvolume is not the one getdents gives.
			st, err := sys.StatAt(dir, d.Name)
			switch {
			case err == sys.ENOENT:
				return nil
			case err == sys.EACCES:
				return l.unsearchable(r.Dev, d)
			case err != nil:
				return err
			}
			n.Ino, n.Type = l.stack.IDs.Number(st.Dev, st.Ino), uint8(st.Mode>>12)&15
		}
		return l.visit(n)
	})
}
