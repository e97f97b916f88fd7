package unionfs

import (
	"slices"
	"strings"
	"sync"

	"github.com/unionmount/unionmount/layers"
)

// table finds nodes by the kernel's number, without a lock, and by identity, and
// knows their names. The identities of a tree are in tree.nodes.
type table struct {
	slots slots

	mu    sync.Mutex
	trees []*tree // that have nodes; guarded by mu
	trim  trimmer // guarded by mu
}

// add makes a node. Caller holds mu.
func (t *table) add(tr *tree, e *layers.Entry) *node {
	n := &node{tree: tr}
	n.pin.Store(-1)
	n.entry.Store(e)
	if e.IsDir() {
		n.dirPart = new(dirPart)
	}
	t.slots.put(n)
	if tr.nodes == nil {
		tr.nodes = make(map[uint64]*node)
		t.trees = append(t.trees, tr)
	}
	tr.nodes[e.Ino] = n
	t.moved(1)
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
func (t *table) get(id uint64) *node { return t.slots.get(id) }

// intern finds or makes the node of what a lookup of nm in dir found, notes the
// name and counts one reference of the kernel if counted is set.
func (t *table) intern(dir *node, nm string, e *layers.Entry, counted bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := dir.tree.nodes[e.Ino]
	if n == nil || !sameObject(n, e) {
		n = t.add(dir.tree, e)
	}
	t.addName(n, dir, nm)
	if counted {
		n.lookups++
	}
	return n
}

// addName notes a name; a directory has one. Caller holds mu.
func (t *table) addName(n, dir *node, nm string) {
	if t.knows(n, dir, nm) {
		return
	}
	if n.isGone() {
		n.use().is.clear(gone)
	}
	dir.kids++
	switch {
	case n.at.dir == nil:
	case n.dirPart != nil:
		n.at.dir.kids--
	default:
		u := n.use()
		u.more = append(u.more, name{dir, nm})
		return
	}
	if low := n.entry.Load().Lower().Path; strings.HasSuffix(low, nm) {
		nm = low[len(low)-len(nm):] // one string less
	}
	n.at = name{dir, nm}
}

// others are n's known names beside the first. Caller holds mu.
func (n *node) others() []name {
	if u := n.used.Load(); u != nil {
		return u.more
	}
	return nil
}

// knows tells whether n is known under that name. Caller holds mu.
func (t *table) knows(n, dir *node, nm string) bool {
	at := name{dir, nm}
	return n.at == at || slices.Contains(n.others(), at)
}

// dropName forgets a name and tells how many are left. Caller holds mu.
func (t *table) dropName(n, dir *node, nm string) int {
	at, more := name{dir, nm}, n.others()
	switch i := slices.Index(more, at); {
	case n.at == at && len(more) > 0:
		n.at = more[0]
		n.use().more = slices.Delete(more, 0, 1)
		dir.kids--
	case n.at == at:
		n.at = name{}
		dir.kids--
	case i >= 0:
		n.use().more = slices.Delete(more, i, i+1)
		dir.kids--
	}
	return n.countKnown()
}

func (n *node) countKnown() int {
	if n.at.dir == nil {
		return 0
	}
	return 1 + len(n.others())
}

// known counts the names that are known of n.
func (t *table) known(n *node) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return n.countKnown()
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
		if n.at.dir == nil {
			return "", false
		}
		rev = append(rev, n.at.name)
		n = n.at.dir
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

// turn makes the next known name of n its first, unless that many turns went through all.
func (t *table) turn(n *node, turns int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := n.others()
	if turns >= len(more) {
		return false
	}
	first := n.at
	n.at = more[0]
	copy(more, more[1:])
	more[len(more)-1] = first
	return true
}

// place returns one known name of n.
func (t *table) place(n *node) (name, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return n.at, n.at.dir != nil
}

// places returns all known names of n.
func (t *table) places(n *node) []name {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.at.dir == nil {
		return nil
	}
	return append([]name{n.at}, n.others()...)
}

// has tells whether n is known under that name.
func (t *table) has(n, dir *node, nm string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.knows(n, dir, nm)
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
	t.drop(n)
}

// drop takes n out of the identities. Caller holds mu.
func (t *table) drop(n *node) {
	if ino := n.ino(); n.tree.nodes[ino] == n {
		delete(n.tree.nodes, ino)
	}
	t.unalias(n)
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
	n := t.slots.get(id)
	if n == nil {
		return nil
	}
	n.lookups -= min(count, n.lookups)
	return t.reap(n, nil)
}

// reap removes n and then its ancestors as far as nothing holds them. Caller holds mu.
func (t *table) reap(n *node, dead []*node) []*node {
	if n.lookups > 0 || n.kids > 0 || t.slots.get(n.id) != n {
		return dead
	}
	t.slots.remove(n)
	t.drop(n)
	t.moved(1)
	dead = append(dead, n)
	for n.at.dir != nil {
		dir := n.at.dir
		t.dropName(n, dir, n.at.name)
		dead = t.reap(dir, dead)
	}
	return dead
}

// closeAll lets go of every pin.
func (t *table) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots.each((*node).unpin)
}
