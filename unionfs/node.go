package unionfs

import (
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// node is one object that the kernel may know.
type node struct {
	tree *tree  // immutable
	id   uint64 // the kernel's number for it; immutable, never used again
	ino  uint64 // st_ino; immutable

	entry atomic.Pointer[layers.Entry]
	pin   atomic.Int32 // descriptor of an object that no name leads to; -1 without
	gone  atomic.Bool  // the union has no name of it any more

	capsGone atomic.Bool // its capabilities were removed last (attr.go)

	copyMu   sync.Mutex
	data     nodeData
	*dirPart // of a directory; nil else; immutable

	lookups uint64 // the kernel's references; guarded by table.mu
	kids    int    // nodes that name this one as parent, and routes; guarded by table.mu
	names   []name // known names, one of a directory; guarded by table.mu
}

// dirPart is what only a directory needs: most nodes are files.
type dirPart struct {
	dirMu  sync.RWMutex // its names on disk
	list   listing
	routes map[string]*node // names that lead elsewhere; immutable once mounted
}

// name is one place of a node.
type name struct {
	dir  *node
	name string
}

// table finds nodes by the kernel's number and by identity.
type table struct {
	mu    sync.Mutex
	byID  map[uint64]*node  // guarded by mu
	byKey map[nodeKey]*node // guarded by mu
	next  uint64            // guarded by mu
	many  bool              // what tune decided; guarded by mu
}

type nodeKey struct {
	tree *tree
	ino  uint64
}

func (t *table) init() {
	t.byID = make(map[uint64]*node)
	t.byKey = make(map[nodeKey]*node)
	t.next = 1
}

// add makes a node. Caller holds mu.
func (t *table) add(tr *tree, e *layers.Entry) *node {
	n := &node{tree: tr, id: t.next, ino: e.Ino}
	t.next++
	n.pin.Store(-1)
	n.entry.Store(e)
	if e.IsDir() {
		n.dirPart = new(dirPart)
	}
	t.byID[n.id] = n
	t.byKey[nodeKey{tr, e.Ino}] = n
	t.tune()
	return n
}

// addRoot makes the root of a tree, or a directory that only routes need; it stays for ever.
func (t *table) addRoot(tr *tree, e *layers.Entry) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.add(tr, e)
	n.kids = 1
	return n
}

// get finds the node of a request; the kernel names only nodes that it holds.
func (t *table) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// intern finds or makes the node of what a lookup of nm in dir found, notes the
// name and counts one reference of the kernel if counted is set.
func (t *table) intern(dir *node, nm string, e *layers.Entry, counted bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byKey[nodeKey{dir.tree, e.Ino}]
	if n != nil && !sameObject(n, e) {
		delete(t.byKey, nodeKey{dir.tree, e.Ino})
		n = nil
	}
	if n == nil {
		n = t.add(dir.tree, e)
	}
	t.addName(n, dir, nm)
	if counted {
		n.lookups++
	}
	return n
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
	// One was seen before a copy-up, the other after it. An upper object that was
	// never copied up has its own number: that of a lower one which vanished.
	up := e
	if old.Upper {
		up = old
	}
	return n.tree.stack.IDs.Number(up.Stat.Dev, up.Stat.Ino) != n.ino
}

// addName notes a name; a directory has one. Caller holds mu.
func (t *table) addName(n, dir *node, nm string) {
	for _, have := range n.names {
		if have.dir == dir && have.name == nm {
			return
		}
	}
	n.gone.Store(false)
	dir.kids++
	if n.entry.Load().IsDir() {
		for _, old := range n.names {
			old.dir.kids--
		}
		n.names = n.names[:0]
	}
	n.names = append(n.names, name{dir, nm})
}

// dropName forgets a name and tells how many are left. Caller holds mu.
func (t *table) dropName(n, dir *node, nm string) int {
	for i, have := range n.names {
		if have.dir == dir && have.name == nm {
			n.names = append(n.names[:i:i], n.names[i+1:]...)
			dir.kids--
			break
		}
	}
	return len(n.names)
}

// known counts the names that are known of n.
func (t *table) known(n *node) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(n.names)
}

// path derives where n is in its tree; false: no known name leads to it. The
// caller holds renameMu, or the answer may be old when it arrives.
func (t *table) path(n *node) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pathLocked(n)
}

func (t *table) pathLocked(n *node) (string, bool) {
	var parts [32]string
	rev := parts[:0]
	for n != n.tree.root {
		if len(n.names) == 0 {
			return "", false
		}
		rev = append(rev, n.names[0].name)
		n = n.names[0].dir
	}
	size := max(0, len(rev)-1)
	for _, p := range rev {
		size += len(p)
	}
	buf := make([]byte, 0, size)
	for i := len(rev) - 1; i >= 0; i-- {
		buf = append(buf, rev[i]...)
		if i > 0 {
			buf = append(buf, '/')
		}
	}
	return string(buf), true
}

// place returns one known name of n.
func (t *table) place(n *node) (name, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(n.names) == 0 {
		return name{}, false
	}
	return n.names[0], true
}

// has tells whether n is known under that name.
func (t *table) has(n, dir *node, nm string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, have := range n.names {
		if have.dir == dir && have.name == nm {
			return true
		}
	}
	return false
}

// move changes n's name.
func (t *table) move(n *node, from, to name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropName(n, from.dir, from.name)
	t.addName(n, to.dir, to.name)
}

// detach takes n out of the identities: its number may come again for another object.
func (t *table) detach(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unkey(n)
}

// rekey makes n found by its copy's own number too, for a copy that can't carry
// the origin: a lookup would make a second node of the same object.
func (t *table) rekey(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byKey[nodeKey{n.tree, n.copyIno()}] = n
}

// copyIno is the number of n's object in upper, which it is found by unless the object tells its origin.
func (n *node) copyIno() uint64 {
	e := n.entry.Load()
	if !e.Upper || e.IsDir() {
		return n.ino
	}
	return n.tree.stack.IDs.Number(e.Stat.Dev, e.Stat.Ino)
}

// unkey forgets n's numbers. Caller holds mu.
func (t *table) unkey(n *node) {
	for _, ino := range [...]uint64{n.ino, n.copyIno()} {
		if key := (nodeKey{n.tree, ino}); t.byKey[key] == n {
			delete(t.byKey, key)
		}
	}
}

// count adds a reference of the kernel.
func (t *table) count(n *node) {
	t.mu.Lock()
	n.lookups++
	t.mu.Unlock()
}

// forget takes references of the kernel away and returns the nodes that nobody needs any more.
func (t *table) forget(id, count uint64) (dead []*node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil {
		return nil
	}
	n.lookups -= min(count, n.lookups)
	return t.reap(n, nil)
}

// reap removes n and then its ancestors as far as nothing holds them. Caller holds mu.
func (t *table) reap(n *node, dead []*node) []*node {
	if n.lookups > 0 || n.kids > 0 || t.byID[n.id] != n {
		return dead
	}
	delete(t.byID, n.id)
	t.unkey(n)
	dead = append(dead, n)
	names := n.names
	n.names = nil
	for _, nm := range names {
		nm.dir.kids--
		dead = t.reap(nm.dir, dead)
	}
	return dead
}

// closeAll lets go of every pin.
func (t *table) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.byID {
		n.unpin()
	}
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
