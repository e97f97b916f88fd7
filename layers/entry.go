package layers

import "github.com/unionmount/unionmount/layers/sys"

// Ref is one object in one lower layer. Layers don't change, so neither does a Ref.
type Ref struct {
	Layer     int    // index in Stack.Lowers
	Path      string // relative to that layer's root
	Dev, Ino  uint64 // the real object's
	xwhiteout bool   // directory: zero-size files marked so are whiteouts (opaque "x")
	covered   bool   // directory: another file system is mounted on it, and what lies beneath can't be reached: it counts as empty
}

// Entry is what the stack has under one name: an immutable value. There is one
// for every file that is known, so what few need lies behind a pointer.
type Entry struct {
	Upper bool // upper has it, at the path the tree gives or, if Index is set, in the index

	upperXWhiteout bool
	layer          uint16 // with path: the lower object of a non-directory that only a lower has
	path           string
	rest           *rest // of directories, indexed hard links and metacopies; nil: nothing of it

	Ino  uint64 // the number the mount shows, the same before and after copy-up
	Stat Stat   // of the topmost object when it was looked up; final for a lower
}

// rest is what most entries don't have. Immutable.
type rest struct {
	lowers    []Ref // topmost first; a non-directory has one at most, none once Upper hides it
	lowerPath string
	index     string
	data      *Data
}

// alter replaces e's rest by a changed copy; e itself must not be known to others yet.
func (e *Entry) alter(change func(*rest)) {
	next := new(rest)
	if e.rest != nil {
		*next = *e.rest
	}
	change(next)
	e.rest = next
}

// HasLower tells whether a lower has a part in the object.
func (e *Entry) HasLower() bool { return e.path != "" || len(e.parts()) > 0 }

// Lower returns the topmost lower object. It is void without one.
func (e *Entry) Lower() Ref {
	if parts := e.parts(); len(parts) > 0 {
		return parts[0]
	}
	return Ref{Layer: int(e.layer), Path: e.path, Dev: uint64(e.Stat.Dev), Ino: e.Stat.Ino}
}

// Lowers counts the lower objects.
func (e *Entry) Lowers() int {
	if e.path != "" {
		return 1
	}
	return len(e.parts())
}

// parts lists a directory's lower parts, topmost first.
func (e *Entry) parts() []Ref {
	if e.rest == nil {
		return nil
	}
	return e.rest.lowers
}

func (e *Entry) setParts(lowers []Ref) { e.alter(func(r *rest) { r.lowers = lowers }) }

// LowerPath is where a directory's lower part lies in the union of the
// lowers; it is what a redirect to it says. Empty for others.
func (e *Entry) LowerPath() string {
	if e.rest == nil {
		return ""
	}
	return e.rest.lowerPath
}

func (e *Entry) setLowerPath(p string) { e.alter(func(r *rest) { r.lowerPath = p }) }

// Index is the name in work/index of an indexed hard link; "" else.
func (e *Entry) Index() string {
	if e.rest == nil {
		return ""
	}
	return e.rest.index
}

// Data is set of an upper file that is a metacopy; nil: the data is its own.
func (e *Entry) Data() *Data {
	if e.rest == nil {
		return nil
	}
	return e.rest.data
}

func (e *Entry) setData(d *Data) {
	if d != e.Data() {
		e.alter(func(r *rest) { r.data = d })
	}
}

// BareDir is the entry of a directory that exists for a route only.
func BareDir(lowerPath string, st Stat, ino uint64) *Entry {
	return &Entry{Stat: st, Ino: ino, rest: &rest{lowerPath: lowerPath}}
}

// IsDir tells whether the entry is a directory.
func (e *Entry) IsDir() bool { return e.Stat.Mode&sys.S_IFMT == sys.S_IFDIR }

// IsRegular tells whether the entry is a regular file.
func (e *Entry) IsRegular() bool { return e.Stat.Mode&sys.S_IFMT == sys.S_IFREG }

// Merged tells whether the entry is a directory with a part in a lower.
func (e *Entry) Merged() bool { return e.IsDir() && e.HasLower() }

// The methods that follow change a copy that nobody knows yet.

// CopyUp makes it that of an object just copied up, which has stat st: to the
// index under that name, else ("") to the place of its name.
func (e *Entry) CopyUp(st *sys.Stat, index string) {
	switch {
	case index != "":
		below := e.Lower()
		e.alter(func(r *rest) { r.index, r.lowers = index, []Ref{below} })
		e.path = ""
	case !e.IsDir():
		e.DropLowers()
	}
	e.Upper, e.Stat = true, Compact(st)
}

// DropLowers cuts it off from below.
func (e *Entry) DropLowers() {
	e.path = ""
	if e.rest != nil {
		e.setParts(nil)
	}
}

// DropIndex makes it that of an object that left the index.
func (e *Entry) DropIndex() { e.alter(func(r *rest) { r.index = "" }) }

// LeaveData makes it that of a metacopy of what data describes.
func (e *Entry) LeaveData(data *Data) { e.setData(data) }

// Complete makes a metacopy's that of a file with data of its own.
func (e *Entry) Complete(st *sys.Stat) {
	e.setData(nil)
	e.Stat = Compact(st)
}

// Stack is an upper over lowers. Its fields are set before first use and immutable.
type Stack struct {
	Upper  *Layer   // nil: read-only
	Lowers []*Layer // topmost first
	Index  *Index   // nil: hard links of lower files are not tracked
	IDs    *Identity

	Plain       bool   // a volume: marks mean nothing, names are passed as they are
	NoFollow    bool   // redirects are not followed
	FollowUser  bool   // redirects in user.* are followed too (they may be an attacker's)
	MarksPrefix string // of the upper's marks

	roots []Ref // of the lowers; set by Root
}
