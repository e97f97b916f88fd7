package layers

import (
	"fmt"

	"github.com/unionmount/unionmount/layers/sys"
)

// SuffixNlink names the mark on an indexed object that gives the union's count
// of names relative to a real one: "U+2" is upper's plus two, "L-1" lower's less
// one (ovl_get_nlink). SuffixUpper, on the index directory, is the handle of the upper's root.
const (
	SuffixNlink = "nlink"
	SuffixUpper = "upper"
)

// Index is work/index: one object per lower hard link that was copied up, named
// by the lower's handle. Reading it needs no privilege.
type Index struct {
	Dir    int // O_PATH descriptor; immutable
	Prefix string
}

// Stat stats an indexed object. ENOENT: not copied up.
func (x *Index) Stat(name string) (sys.Stat, error) { return sys.StatAt(x.Dir, name) }

// marks lists the attributes of an indexed object.
func (x *Index) marks(name string) ([]string, error) { return sys.ListXattrAt(x.Dir, name) }

// PathFd returns an O_PATH descriptor of an indexed object.
func (x *Index) PathFd(name string) (int, error) { return sys.PathAt(x.Dir, name) }

// Nlink returns how many names the union has of the indexed object with stat st;
// lower tells the lower's own count if the mark is relative to it.
func (x *Index) Nlink(name string, st *sys.Stat, lower func() (uint64, error)) (uint64, error) {
	v, err := sys.GetXattrAt(x.Dir, name, x.Prefix+SuffixNlink)
	if err == sys.ENODATA {
		return uint64(st.Nlink), nil
	}
	if err != nil {
		return 0, err
	}
	var base string
	var diff int64
	if n, _ := fmt.Sscanf(string(v), "%1s%d", &base, &diff); n != 2 || base != "U" && base != "L" {
		return 0, &CorruptError{Mark: SuffixNlink, Value: string(v)}
	}
	n := uint64(st.Nlink)
	if base == "L" {
		if n, err = lower(); err != nil {
			return 0, err
		}
	}
	if int64(n)+diff < 0 {
		return 0, &CorruptError{Mark: SuffixNlink, Value: string(v)}
	}
	return uint64(int64(n) + diff), nil
}

// NlinkMark is the value that says "names" for an object that upper counts upperLinks of.
func NlinkMark(names, upperLinks uint64) []byte {
	return fmt.Appendf(nil, "U%+d", int64(names)-int64(upperLinks))
}

// indexed finds the copy of a lower hard link. name is "" where there is none.
func (s *Stack) indexed(ref Ref, st *sys.Stat) (name string, got sys.Stat, err error) {
	if s.Index == nil || st.Nlink < 2 || st.Mode&sys.S_IFMT == sys.S_IFDIR {
		return "", got, nil
	}
	h, err := s.Handle(ref)
	if err == sys.ENOTSUP {
		return "", got, nil
	}
	if err != nil {
		return "", got, err
	}
	name = h.IndexName()
	got, err = s.Index.Stat(name)
	switch err {
	case nil:
		return name, got, nil
	case sys.ENOENT, sys.ENAMETOOL:
		return "", got, nil
	}
	return "", got, err
}
