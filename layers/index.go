package layers

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// SuffixNlink names the mark on an indexed object that gives the union's count
// of names relative to a real one: "U+2" is upper's plus two, "L-1" lower's less
// one (ovl_get_nlink). SuffixUpper, on the index directory, is the handle of the upper's root.
const (
	SuffixNlink = "nlink"
	SuffixUpper = "upper"

	// SuffixNames is our addition to a count that is relative to the lower's: the count itself, while an upper name is made.
	SuffixNames = "unionmount.nlink"
)

// Index is one object per lower hard link that was copied up: in work/index, named
// by the lower's handle, or in unionmount.links, which the kernel doesn't read,
// where there is none. Reading it needs no privilege.
type Index struct {
	Dir    int // descriptor of work/index; immutable
	Links  int // descriptor of unionmount.links; immutable
	Prefix string
}

// OwnName tells whether the name of an indexed object is of our own form.
func OwnName(name string) bool { return strings.Contains(name, ":") }

func (x *Index) dir(name string) int {
	if OwnName(name) {
		return x.Links
	}
	return x.Dir
}

// IndexName names the lower hard link ref, which has stat st, in the index: by its
// handle h; where there is none or another device's object may have the same, as
// LAYER:INO:SIZE:MTIME, the layer being the lowest on its device. Size and
// time belong to the name because some file systems number their files anew each time.
func (s *Stack) IndexName(ref Ref, st *sys.Stat, h FileHandle) string {
	own := len(h) == 0
	layer := -1
	for i, l := range s.Lowers {
		own = own || l.UUID == s.Lowers[ref.Layer].UUID && l.Dev != s.Lowers[ref.Layer].Dev
		if l.Dev == ref.Dev {
			layer = i
		}
	}
	if !own {
		return h.IndexName()
	}
	if layer < 0 {
		layer = ref.Layer
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d", len(s.Lowers)-1-layer, ref.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
}

// Stat stats an indexed object. ENOENT: not copied up.
func (x *Index) Stat(name string) (sys.Stat, error) { return sys.StatAt(x.dir(name), name) }

// marks lists the attributes of an indexed object.
func (x *Index) marks(name string) ([]string, error) { return sys.ListXattrAt(x.dir(name), name) }

// At calls use with the directory that holds an indexed object and its name in it.
func (x *Index) At(name string, use func(dir int, name string) error) error {
	return use(x.dir(name), name)
}

// PathFd returns an O_PATH descriptor of an indexed object.
func (x *Index) PathFd(name string) (int, error) { return sys.PathAt(x.dir(name), name) }

// Nlink returns how many names the union has of the indexed object with stat st;
// lower tells the lower's own count if the mark is relative to it.
func (x *Index) Nlink(name string, st *sys.Stat, lower func() (uint64, error)) (uint64, error) {
	v, err := sys.GetXattrAt(x.dir(name), name, x.Prefix+SuffixNlink)
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
		if names, ok := x.Names(name); ok {
			return names, nil
		}
		if n, err = lower(); err != nil {
			return uint64(st.Nlink), nil // as ovl_get_nlink: a crash of the kernel's, and the lower isn't known yet
		}
	}
	if int64(n)+diff < 0 {
		return 0, &CorruptError{Mark: SuffixNlink, Value: string(v)}
	}
	return uint64(int64(n) + diff), nil
}

// Relative tells whether the count of an indexed object is relative to the lower's: so it is while a name is made, and
// stays if that is cut short (LinkUp in package cow, ovl_nlink_start). It doesn't follow the names that upper has.
func (x *Index) Relative(name string) (bool, error) {
	v, err := sys.GetXattrAt(x.dir(name), name, x.Prefix+SuffixNlink)
	if err == sys.ENODATA {
		return false, nil
	}
	return len(v) > 0 && v[0] == 'L', err
}

// Names is the count that stands beside a relative one; false: none does.
func (x *Index) Names(name string) (uint64, bool) {
	v, err := sys.GetXattrAt(x.dir(name), name, x.Prefix+SuffixNames)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	return n, err == nil
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
	if name, err = s.nameOf(ref, st); err != nil {
		return "", got, err
	}
	got, err = s.Index.Stat(name)
	switch {
	case err == sys.ENOENT || err == sys.ENAMETOOL:
		return "", got, nil
	case err == nil && (got.Mode^st.Mode)&sys.S_IFMT != 0:
		// A whiteout, say: all names of the file are gone, so none can be here (ovl_lookup_index).
		return "", got, fmt.Errorf("index entry %s is of another type: %w", name, sys.EIO)
	}
	return name, got, err
}

// nameOf is IndexName for who has no handle yet.
func (s *Stack) nameOf(ref Ref, st *sys.Stat) (string, error) {
	h, err := s.Handle(ref)
	return s.IndexName(ref, st, h), err
}

// SameLink tells whether index is the entry of the lower hard link that e shows.
func (s *Stack) SameLink(e *Entry, index string) bool {
	if index == "" || !e.HasLower() || e.IsDir() || e.Stat.Nlink < 2 {
		return false
	}
	st := e.Stat.Full()
	name, err := s.nameOf(e.Lower(), &st)
	return err == nil && name == index
}
