package unionfs

import (
	"errors"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// side is what a name means that is about to go or to change, found while nobody changes names in its directory.
type side struct {
	name
	at      string // path of the directory
	n       *node  // nil: no such name; counted
	inLower bool   // a lower shows the name
	inUpper bool
}

// find looks a name up that is about to go or to change. ENOENT is no error of
// it, but of its directory. Caller holds renameMu and dirMu, or renameMu for writing.
func (fs *FS) find(at name) (s side, err error) {
	s.name = at
	if s.at, err = fs.dirPath(at.dir); err != nil {
		return s, err
	}
	e, whiteout, err := entryAt(at.dir, s.at, at.name)
	if err == nil {
		s.n = fs.table.intern(at.dir, at.name, e, true)
	} else if err != sys.ENOENT {
		return s, err
	}
	if s.inUpper, s.inLower, err = fs.presence(s, e, whiteout); err != nil && s.n != nil {
		fs.letGo(s.n)
	}
	return s, err
}

// presence tells whether upper has a name and whether a lower shows it, of which the layers just said e or whiteout.
// Caller holds renameMu and dirMu.
func (fs *FS) presence(s side, e *layers.Entry, whiteout bool) (inUpper, inLower bool, err error) {
	parent, stack := s.dir.entry.Load(), s.dir.tree.stack
	switch {
	case e != nil && e.Index() != "": // found there: upper may have the name or not
		_, err = stack.Upper.Stat(layers.Join(s.at, s.name.name))
		if inUpper = err == nil; !inUpper && err != sys.ENOENT {
			return false, false, err
		}
	case e != nil:
		inUpper = e.Upper
	}
	switch {
	case !parent.HasLower(), e == nil && !whiteout:
		return inUpper, false, nil
	case e != nil && !inUpper:
		return false, true, nil
	}
	inLower, err = stack.LowerHas(parent, s.name.name)
	return inUpper, inLower, err
}

// errIndexFirst says that a hard link that only lowers have must be copied into the index before one of its names
// goes: the count of names is kept there.
var errIndexFirst = errors.New("a lower hard link, to be indexed first")

func (n *node) indexFirst() bool {
	e := n.entry.Load()
	return !e.Upper && !e.IsDir() && e.Stat.Nlink > 1 && n.tree.stack.Index != nil
}

// withName calls remove with what nm in dir is, while nobody changes names in dir, and again after it has
// asked for the hard link to be indexed first.
func (fs *FS) withName(dir *node, nm string, remove func(s side) error) error {
	for range retries {
		s, err := fs.tryName(dir, nm, remove)
		if s.n == nil {
			return err
		}
		if err == errIndexFirst {
			err = fs.ensureUpper(s.n, cow.Whole)
		} else {
			fs.letGo(s.n)
			return err
		}
		fs.letGo(s.n)
		if err != nil {
			return err
		}
	}
	return sys.EBUSY
}

// tryName is one try of withName. The node is its caller's to let go.
func (fs *FS) tryName(dir *node, nm string, remove func(s side) error) (side, error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.Lock()
	defer dir.dirMu.Unlock()
	s, err := fs.find(name{dir, nm})
	switch {
	case err != nil:
		s.n = nil
		return s, err
	case s.n == nil:
		return s, sys.ENOENT
	}
	return s, remove(s)
}
