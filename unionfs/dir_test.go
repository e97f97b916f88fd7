package unionfs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers"
)

// TestOffsetsBelongToNames: a name keeps its offset whatever else comes and
// goes and in whatever order the layers give the names. They once were positions
// in the first listing, and a listing read anew in the middle lost names.
func TestOffsetsBelongToNames(t *testing.T) {
	const some = 5000
	all, half := &names{}, &names{}
	for i := range some {
		all.add(layers.Name{Name: fmt.Sprint("name-", i), Ino: uint64(i), Type: uint8(i % 16)})
	}
	all.order()
	before := make(map[string]listed)
	for _, l := range all.all {
		before[string(all.name(l))] = l
	}
	for i := some - 1; i >= 0; i -= 2 {
		half.add(layers.Name{Name: fmt.Sprint("name-", i), Ino: uint64(i), Type: uint8(i % 16)})
	}
	half.order()
	if len(half.all) != some/2 || len(before) != some {
		t.Fatalf("%d names of all, %d of half", len(before), len(half.all))
	}
	last := uint64(firstOffset - 1)
	for i, l := range half.all {
		name := string(half.name(l))
		if was := before[name]; l.offset != was.offset || l.ino != was.ino || half.mode(l) != all.mode(was) {
			t.Errorf("%s: %+v, was %+v", name, l, was)
		}
		if l.offset <= last {
			t.Errorf("%s: offset %d after %d", name, l.offset, last)
		}
		last = l.offset
		if next := half.after(last); next != i+1 {
			t.Errorf("what follows %s, the name at %d, begins at %d", name, i, next)
		}
	}
}

// TestLongListing: what follows very many names is listed without looking it up,
// until LOOKUPs show that the client wants the attributes of all.
func TestLongListing(t *testing.T) {
	l := &listing{}
	for range 2 * enoughWanted {
		l.looked() // before any name was left out
	}
	for _, c := range []struct {
		at   int
		want bool
	}{{0, false}, {firstLookedUp - 1, false}, {firstLookedUp, true}, {10 * firstLookedUp, true}, {5, false}} {
		if got := l.nameOnly(c.at); got != c.want {
			t.Errorf("name %d: left out %v, want %v", c.at, got, c.want)
		}
	}
	for i := range enoughWanted {
		if !l.nameOnly(firstLookedUp) {
			t.Fatalf("looked up after %d LOOKUPs", i)
		}
		l.looked()
	}
	if l.nameOnly(firstLookedUp) {
		t.Error("still left out")
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

// TestLongLists: a directory was taken for one that is quickly listed by what upper, or the topmost layer, had of it when
// it was first looked up: 150,000 names below, or made since, held up all others on its processor for 0.4 s.
func TestLongLists(t *testing.T) {
	dir := t.TempDir()
	fill := func(dir string) error {
		for i := range 1000 {
			if err := os.WriteFile(fmt.Sprintf("%s/a-name-of-some-length-%d", dir, i), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	for _, d := range []string{"/upper/merged", "/upper/grown", "/lower/merged", "/lower/merged2", "/base/merged2", "/lower/short", "/work"} {
		err = errors.Join(err, os.MkdirAll(dir+d, 0o755))
	}
	if err = errors.Join(err, fill(dir+"/lower/merged"), fill(dir+"/base/merged2")); err != nil {
		t.Fatal(err)
	}
	fs, err := Open(Config{Lowers: []string{dir + "/lower", dir + "/base"}, Upper: dir + "/upper", Work: dir + "/work", IO: IOCached, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
	is := func(name string, want bool) {
		t.Helper()
		var out fuse.EntryOut
		if s := c.Lookup(nil, &fuse.InHeader{NodeId: fs.union.root.id}, name, &out); !s.Ok() {
			t.Fatal(name, s)
		}
		if got := c.longList(out.NodeId); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	is("merged", true)
	is("merged2", true)
	is("short", false)
	is("grown", false)
	if err := fill(dir + "/upper/grown"); err != nil {
		t.Fatal(err)
	}
	is("grown", true)
}
