package model

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// torn is a file in which a crash may have left a part of a write: a call that writes data reaches the union as
// several requests, and the filesystem below promises no more.
type torn struct {
	union, plain string
	before       []byte
	now          []byte // in the union
}

// openTorn prepares to accept a part of the operation, if it writes data and if all differences are at one path or
// at names of the same file. Without names (an unlinked file) there is nothing to compare either.
func (s *session) openTorn(o op.Op, differences []string) (*torn, error) {
	switch o.Kind {
	case op.Write, op.Pwrite, op.MapWrite, op.CopyRange, op.Fallocate:
	default:
		return nil, nil
	}
	at := lookups(differences)
	if len(at) == 0 {
		return nil, nil
	}
	first, err := os.Stat(filepath.Join(s.state.Plain, at[0].Path))
	if err != nil || !first.Mode().IsRegular() {
		return nil, nil
	}
	for _, other := range at[1:] {
		st, err := os.Stat(filepath.Join(s.state.Plain, other.Path))
		if err != nil || !os.SameFile(first, st) {
			return nil, nil
		}
	}
	t := &torn{union: filepath.Join(s.state.Union, at[0].Path), plain: filepath.Join(s.state.Plain, at[0].Path)}
	t.before, err = os.ReadFile(t.plain)
	return t, err
}

// accepts says that each byte in the union is that of before or that of after the operation.
func (t *torn) accepts() bool {
	now, err := os.ReadFile(t.union)
	if err != nil {
		return false
	}
	t.now = now
	after, err := os.ReadFile(t.plain)
	if err != nil {
		return false
	}
	at := func(b []byte, i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	for i := range now {
		if now[i] != at(t.before, i) && now[i] != at(after, i) {
			return false
		}
	}
	shorter, longer := len(t.before), len(after)
	return len(now) >= min(shorter, longer) && len(now) <= max(shorter, longer) && !bytes.Equal(now, after)
}

// adopt gives the plain copy the union's content. A failure shows in the comparison that follows.
func (t *torn) adopt() { _ = os.WriteFile(t.plain, t.now, 0) }
