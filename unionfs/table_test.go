package unionfs

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"

	"github.com/unionmount/unionmount/layers"
)

// files are what lookups of n lower files find, with the directory they are in.
func files(t *table, n int) (dir *node, names []string, found []*layers.Entry) {
	tr := &tree{stack: &layers.Stack{IDs: layers.NewIdentity(1)}}
	root := &layers.Entry{Ino: 1}
	root.Stat.Mode = 0o40755
	tr.root = t.addRoot(tr, root)
	for i := range n {
		e := &layers.Entry{Ino: uint64(i + 2)}
		e.Stat.Mode, e.Stat.Dev, e.Stat.Ino = 0o100644, 1, e.Ino
		names, found = append(names, fmt.Sprintf("file-%07d.txt", i)), append(found, e)
	}
	return tr.root, names, found
}

// TestNodeSize: 80 and what usedPart has are sizes of the allocator.
func TestNodeSize(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size > 80 {
		t.Errorf("a node has %d bytes", size)
	}
	if size := unsafe.Sizeof(usedPart{}); size > 96 {
		t.Errorf("its used part has %d bytes", size)
	}
}

// TestNumbers: a number leads to its node until that is forgotten and never
// again, the root's is 1, and places are used again and given up.
func TestNumbers(t *testing.T) {
	var tab table
	dir, names, found := files(&tab, 3*pageSize)
	if dir.id != 1 {
		t.Errorf("the root has number %d", dir.id)
	}
	seen := map[uint64]bool{dir.id: true}
	for round := range 3 {
		var known []*node
		for i, e := range found {
			n := tab.intern(dir, names[i], e, true)
			if seen[n.id] {
				t.Fatalf("round %d: the number %d comes again", round, n.id)
			}
			seen[n.id] = true
			if tab.get(n.id) != n {
				t.Fatalf("round %d: the number %d leads elsewhere", round, n.id)
			}
			known = append(known, n)
		}
		for _, n := range known {
			if dead := tab.forget(n.id, 1); len(dead) != 1 || dead[0] != n {
				t.Fatalf("round %d: forget of %d: %v", round, n.id, dead)
			}
			if tab.get(n.id) != nil {
				t.Fatalf("round %d: the number %d still leads somewhere", round, n.id)
			}
		}
		if round == 1 {
			tab.mu.Lock()
			tab.shrink()
			tab.mu.Unlock()
			if pages := *tab.slots.pages.Load(); len(pages) != 1 {
				t.Errorf("%d pages are left for one node", len(pages))
			}
		}
	}
	if tab.get(dir.id) != dir || tab.slots.count != 1 {
		t.Errorf("%d nodes are left", tab.slots.count)
	}
}

// TestNamesOfALink: names come and go in any order; a directory has one.
func TestNamesOfALink(t *testing.T) {
	var tab table
	dir, _, found := files(&tab, 1)
	n := tab.intern(dir, "a", found[0], true)
	for _, nm := range []string{"b", "c", "b"} {
		tab.intern(dir, nm, found[0], false)
	}
	if got := tab.known(n); got != 3 {
		t.Errorf("%d names are known", got)
	}
	for i, nm := range []string{"b", "a", "a", "c"} {
		if left := tab.dropName(n, dir, nm); left != []int{2, 1, 1, 0}[i] {
			t.Errorf("%d names after %s went", left, nm)
		}
	}
	if _, ok := tab.path(n); ok || dir.kids != 1 {
		t.Errorf("a path without a name, or %d kids", dir.kids)
	}
}

func BenchmarkTableIntern(b *testing.B) {
	var tab table
	dir, names, found := files(&tab, b.N)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	for i, e := range found {
		tab.intern(dir, names[i], e, true)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "heap-B/node")
	runtime.KeepAlive(found)
}

func BenchmarkTableGet(b *testing.B) {
	var tab table
	dir, names, found := files(&tab, 100_000)
	ids := make([]uint64, 0, len(found))
	for i, e := range found {
		ids = append(ids, tab.intern(dir, names[i], e, true).id)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if tab.get(ids[i*7919%len(ids)]) == nil {
				b.Error("a known number leads nowhere")
			}
		}
	})
}

func BenchmarkTableForget(b *testing.B) {
	var tab table
	dir, names, found := files(&tab, b.N)
	ids := make([]uint64, 0, len(found))
	for i, e := range found {
		ids = append(ids, tab.intern(dir, names[i], e, true).id)
	}
	b.ResetTimer()
	for _, id := range ids {
		tab.forget(id, 1)
	}
}
