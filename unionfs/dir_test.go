package unionfs

import (
	"fmt"
	"testing"

	"github.com/unionmount/unionmount/layers"
)

// TestOffsetsBelongToNames: a name keeps its offset whatever else comes and
// goes and in whatever order the layers give the names. They once were positions
// in the first listing, and a listing read anew in the middle lost names.
func TestOffsetsBelongToNames(t *testing.T) {
	var all []layers.Name
	for i := range 5000 {
		all = append(all, layers.Name{Name: fmt.Sprint("name-", i)})
	}
	before := make(map[string]uint64)
	for _, n := range order(all) {
		before[n.Name.Name] = n.offset
	}
	half := make([]layers.Name, 0, len(all))
	for i := len(all) - 1; i >= 0; i -= 2 {
		half = append(half, all[i])
	}
	last := uint64(firstOffset - 1)
	for _, n := range order(half) {
		if n.offset != before[n.Name.Name] {
			t.Errorf("%s: offset %d, was %d", n.Name.Name, n.offset, before[n.Name.Name])
		}
		if n.offset <= last {
			t.Errorf("%s: offset %d after %d", n.Name.Name, n.offset, last)
		}
		last = n.offset
	}
}

// TestNumberComesAgain: a lower file vanishes under the mount and its inode
// number comes again for a new file in upper, which is another object. Of one
// object only a hard link can be met both as copied up and as not.
func TestNumberComesAgain(t *testing.T) {
	tr := &tree{stack: &layers.Stack{IDs: layers.NewIdentity(1)}}
	entry := func(upper bool, ino uint64) *layers.Entry {
		e := &layers.Entry{Upper: upper, Ino: 5}
		e.Stat.Mode, e.Stat.Dev, e.Stat.Ino = 0o100644, 1, ino
		return e
	}
	for _, c := range []struct {
		name       string
		known, now *layers.Entry
		same       bool
	}{
		{"lower, seen again", entry(false, 5), entry(false, 5), true},
		{"lower, and a copy of another of that number", entry(false, 5), entry(true, 9), false},
		{"copied up, and another lower of that number", entry(true, 9), entry(false, 5), false},
		{"lower vanished, number in upper now", entry(false, 5), entry(true, 5), false},
		{"upper, made anew with a copied mark", entry(true, 9), entry(true, 11), false},
	} {
		n := &node{tree: tr}
		n.entry.Store(c.known)
		if got := sameObject(n, c.now); got != c.same {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
