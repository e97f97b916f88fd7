package layers

import "github.com/unionmount/unionmount/layers/sys"

// Change is one name at which an upper directory differs from what lies below.
type Change struct {
	Kind  byte // 'A' added, 'C' changed, 'D' deleted
	Name  string
	Entry *Entry // what the union has there; nil if deleted
}

// Changes lists what the upper part of the directory e, at path at, changes. A
// directory without a lower part of its own that stands where a lower shows
// one hides that: the hidden names count as deleted when they are asked for below.
func (s *Stack) Changes(e *Entry, at string) ([]Change, error) {
	var out []Change
	shown := make(map[string]struct{})
	below, err := s.hiddenBelow(at)
	if err != nil {
		return nil, err
	}
	fd, err := s.Upper.Open(at, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer sys.Close(fd)
	err = sys.ReadDir(fd, func(d sys.Dirent) error {
		if d.Name == aufsSentinel {
			return nil
		}
		if IsReserved(d.Name) {
			d.Name = d.Name[len(aufsPrefix):]
		}
		if _, ok := shown[d.Name]; ok {
			return nil
		}
		shown[d.Name] = struct{}{}
		_, hadLower := below[d.Name]
		found, err := s.Lookup(e, at, d.Name)
		switch {
		case err == sys.ENOENT && hadLower:
			out = append(out, Change{'D', d.Name, nil})
			return nil
		case err == sys.ENOENT:
			return nil
		case err != nil:
			return err
		case hadLower:
			out = append(out, Change{'C', d.Name, found})
		default:
			out = append(out, Change{'A', d.Name, found})
		}
		return nil
	})
	if err != nil || e.HasLower() {
		return out, err
	}
	for name := range below {
		if _, ok := shown[name]; !ok {
			out = append(out, Change{'D', name, nil})
		}
	}
	return out, nil
}

// hiddenBelow lists the names that the lowers alone show in the directory at.
func (s *Stack) hiddenBelow(at string) (map[string]struct{}, error) {
	refs := s.roots
	if at != "" {
		var err error
		if refs, err = s.resolve(0, at); err != nil {
			return nil, err
		}
	}
	names := make(map[string]struct{})
	lowers := &Entry{rest: &rest{lowers: refs}}
	err := s.List(lowers, "", func(n Name) error { names[n.Name] = struct{}{}; return nil })
	return names, err
}
