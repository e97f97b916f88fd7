package model

import (
	"fmt"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// ledger knows which number each object has in the union. Objects are named by the plain side, which has a key for
// each that is never used again.
type ledger struct {
	atimes, dirAtimes bool   // immutable: compare them
	renumbers         bool   // immutable: special files may change their numbers
	root              string // immutable: of the union
	dev               uint64
	ino               map[string]uint64
}

func newLedger(state *State, cfg Config) (*ledger, error) {
	l := &ledger{atimes: cfg.Atimes, dirAtimes: cfg.Atimes && cfg.DirAtimes, renumbers: cfg.Renumbers, root: state.Union, ino: map[string]uint64{}}
	var st unix.Stat_t
	if err := unix.Stat(state.Union, &st); err != nil {
		return nil, fmt.Errorf("stat of the union %s: %w", state.Union, err)
	}
	l.dev = uint64(st.Dev)
	return l, nil
}

// remounted takes the device number of the new mount.
func (l *ledger) remounted() {
	var st unix.Stat_t
	if err := unix.Stat(l.root, &st); err == nil {
		l.dev = uint64(st.Dev)
	}
}

// note brings together what both sides saw of the same objects.
func (l *ledger) note(union, plain []op.Seen) []string {
	var what []string
	for i := range min(len(union), len(plain)) {
		u, p := union[i], plain[i]
		if msg := l.number(p.Key, u.Ino); msg != "" && !(l.renumbers && p.Special) {
			what = append(what, fmt.Sprintf("%q: %s", u.Where, msg))
		}
		if u.Dev != l.dev {
			what = append(what, fmt.Sprintf("%q: st_dev %#x in the union, whose root has %#x", u.Where, u.Dev, l.dev))
		}
		if (l.atimes && !u.Dir || l.dirAtimes) && u.Atime != p.Atime && p.Atime != op.Now {
			what = append(what, fmt.Sprintf("%q: atime %s in the union, %s in the plain copy", u.Where, u.Atime, p.Atime))
		}
	}
	return what
}

// number records an object's number, or says that it was another.
func (l *ledger) number(key string, ino uint64) string {
	if key == "" {
		return ""
	}
	old, known := l.ino[key]
	if known && old != ino {
		return fmt.Sprintf("st_ino is %d, and was %d for the same object", ino, old)
	}
	l.ino[key] = ino
	return ""
}

// keepOnly forgets the objects that are gone, and says which of the living share a number.
func (l *ledger) keepOnly(live map[string]string) []string {
	var what []string
	holder := make(map[uint64]string, len(live))
	for key := range l.ino {
		if _, ok := live[key]; !ok {
			delete(l.ino, key)
		}
	}
	for key, where := range live {
		ino, known := l.ino[key]
		if other, taken := holder[ino]; known && taken {
			what = append(what, fmt.Sprintf("%q and %q are two objects, and both have st_ino %d", other, where, ino))
		}
		holder[ino] = where
	}
	return what
}
