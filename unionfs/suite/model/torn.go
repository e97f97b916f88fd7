package model

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// torn is a file in which a crash may have left a part of a write: a call that changes data reaches the union as
// several requests, and the filesystem below promises no more. The first of them may be the one that takes file
// capabilities away (notify_change, file_remove_privs).
type torn struct {
	union, plain string
	before       []byte
	times        unix.Stat_t // of before
	sized        bool        // the operation sets a size, which no crash parts: all that may be done of it is the capabilities
	now          []byte      // in the union
}

// openTorn prepares to accept a part of the operation, if it writes data and if all differences are at one path or
// at names of the same file. Without names (an unlinked file) there is nothing to compare either.
func (s *session) openTorn(o op.Op, differences []string) (*torn, error) {
	switch o.Kind {
	case op.Write, op.Pwrite, op.MapWrite, op.CopyRange, op.Fallocate, op.Truncate, op.Ftruncate:
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
	if t.before, err = os.ReadFile(t.plain); err != nil {
		return nil, err
	}
	t.sized = o.Kind == op.Truncate || o.Kind == op.Ftruncate
	return t, unix.Stat(t.plain, &t.times)
}

// accepts says that each byte in the union is that of before or that of after the operation.
func (t *torn) accepts() bool {
	now, err := os.ReadFile(t.union)
	if err != nil {
		return false
	}
	t.now = now
	if t.sized {
		return bytes.Equal(now, t.before)
	}
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

// adopt gives the plain copy the union's content, and takes its capabilities away. A failure shows in the comparison
// that follows.
func (t *torn) adopt() {
	_ = os.WriteFile(t.plain, t.now, 0)
	if bytes.Equal(t.now, t.before) {
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, t.plain, []unix.Timespec{t.times.Atim, t.times.Mtim}, 0)
	}
}
