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

// Entry is what the stack has under one name: an immutable value.
type Entry struct {
	Upper  bool   // upper has it, at the path the tree gives or, if Index is set, in the index
	Index  string // name in work/index of an indexed hard link; "" else
	Lowers []Ref  // topmost first; a non-directory has one at most, none once Upper hides it

	// LowerPath is where a directory's lower part lies in the union of the
	// lowers; it is what a redirect to it says. Empty for others.
	LowerPath string

	Ino  uint64   // the number the mount shows, the same before and after copy-up
	Stat sys.Stat // of the topmost object when it was looked up; final for a lower

	Data *Data // of an upper file that is a metacopy; nil: the data is its own

	upperXWhiteout bool
}

// IsDir tells whether the entry is a directory.
func (e *Entry) IsDir() bool { return e.Stat.Mode&sys.S_IFMT == sys.S_IFDIR }

// IsRegular tells whether the entry is a regular file.
func (e *Entry) IsRegular() bool { return e.Stat.Mode&sys.S_IFMT == sys.S_IFREG }

// Merged tells whether the entry is a directory with a part in a lower.
func (e *Entry) Merged() bool { return e.IsDir() && len(e.Lowers) > 0 }

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
