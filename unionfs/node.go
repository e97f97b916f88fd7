package unionfs

import (
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// node is one object that the kernel may know. It has 80 bytes, a size that the
// allocator has: there may be millions, and what only some need lies elsewhere.
type node struct {
	tree *tree  // immutable
	id   uint64 // the kernel's number for it; immutable

	entry    atomic.Pointer[layers.Entry]
	used     atomic.Pointer[usedPart]
	*dirPart // of a directory; nil else; immutable

	at      name   // a known name; dir is nil: none; guarded by table.mu
	lookups uint64 // the kernel's references; guarded by table.mu
	kids    int32  // nodes that name this one as parent, and routes; guarded by table.mu

	pin atomic.Int32 // descriptor of an object that no name leads to; -1 without
}

// usedPart is what a node needs that is read, changed or linked: most are only looked up.
type usedPart struct {
	copyMu sync.Mutex
	data   nodeData
	is     facts
	lost   atomic.Int32 // errno of a held back write that failed and was not reported; 0: none (writeback.go)
	more   []name       // known names beside node.at; guarded by table.mu
}

// facts are yes or no, in four bytes together.
type facts struct{ bits atomic.Uint32 }

const (
	gone     = 1 << iota // the union has no name of it any more
	doubted              // a write to it was doubted (writeback.go)
	bare                 // made by this mount, and nobody has given it capabilities (xattr.go)
	capsGone             // its capabilities were removed last (attr.go)
)

func (f *facts) has(fact uint32) bool { return f.bits.Load()&fact != 0 }
func (f *facts) set(fact uint32)      { f.bits.Or(fact) }

// clear tells whether it was set.
func (f *facts) clear(fact uint32) bool { return f.bits.And(^fact)&fact != 0 }

// dirPart is what only a directory needs: most nodes are files.
type dirPart struct {
	dirMu  dirLock // its names on disk
	list   listing
	absent atomic.Pointer[absence]
	routes map[string]*node // names that lead elsewhere; immutable once mounted
}

// dirLock counts how often the names that it guards may have changed.
type dirLock struct {
	sync.RWMutex
	changes atomic.Uint64
}

// Lock is taken for a change.
func (l *dirLock) Lock() {
	l.RWMutex.Lock()
	l.changes.Add(1)
}

// absence is a name that a lookup did not find: mostly it is about to be made (MKNOD after LOOKUP).
type absence struct {
	name    string
	hides   bool   // as layers.Stack.Find tells of a whiteout
	changes uint64 // of the directory's dirMu
}

// missed notes that nm was not found. Caller holds dirMu for reading.
func (d *dirPart) missed(nm string, hides bool) {
	d.absent.Store(&absence{nm, hides, d.dirMu.changes.Load()})
}

// stillAbsent tells whether nm was not found, and nobody has changed names since. Caller holds dirMu for writing.
func (d *dirPart) stillAbsent(nm string) (hides, ok bool) {
	a := d.absent.Load()
	if a == nil || a.name != nm || a.changes+1 != d.dirMu.changes.Load() {
		return false, false
	}
	return a.hides, true
}

// name is one place of a node.
type name struct {
	dir  *node
	name string
}

// use returns n's usedPart, made if missing.
func (n *node) use() *usedPart {
	if u := n.used.Load(); u != nil {
		return u
	}
	n.used.CompareAndSwap(nil, new(usedPart))
	return n.used.Load()
}

// ino is st_ino; it never changes.
func (n *node) ino() uint64 { return n.entry.Load().Ino }

// isGone tells that the union has no name of it any more.
func (n *node) isGone() bool {
	u := n.used.Load()
	return u != nil && u.is.has(gone)
}

// sameObject tells whether a found entry is what the node stands for. Numbers
// are unique, but a file system uses one again, and an upper may be copied by
// hand, marks and all.
func sameObject(n *node, e *layers.Entry) bool {
	old := n.entry.Load()
	if old.Stat.Mode&sys.S_IFMT != e.Stat.Mode&sys.S_IFMT {
		return false
	}
	if old.Upper == e.Upper {
		return old.Stat.Ino == e.Stat.Ino && old.Stat.Dev == e.Stat.Dev
	}
	// One was seen before a copy-up, the other after it: of a hard link, in the
	// moment between, as all else is looked up and copied up under one lock. Any
	// other pair are two objects of one number: a link that was broken, say.
	if old.Upper {
		return n.tree.stack.SameLink(e, old.Index())
	}
	return n.tree.stack.SameLink(old, e.Index())
}

// unpin closes the descriptor that kept a nameless object.
func (n *node) unpin() {
	if fd := n.pin.Swap(-1); fd >= 0 {
		_ = sys.Close(int(fd)) // O_PATH: nothing to lose
	}
}

// letGo gives back a reference that a lookup counted for ourselves.
func (fs *FS) letGo(n *node) { fs.reapAll(fs.table.forget(n.id, 1)) }

// reapAll closes what dead nodes held.
func (fs *FS) reapAll(dead []*node) {
	for _, n := range dead {
		fs.data.drop(n)
		fs.locks.drop(n)
		fs.unregister(n)
		if n.dirPart != nil {
			fs.lists.drop(n)
		}
		n.unpin()
	}
}
