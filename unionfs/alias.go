package unionfs

import "github.com/unionmount/unionmount/layers"

// A copy that can't say in upper where it comes from (a special file where marks
// are user.*, a file whose attributes leave no room) is found again by its own
// number. As long as the mount lasts its node is known by both.

// alias notes the number that n's copy has by itself.
func (fs *FS) alias(n *node, e *layers.Entry) {
	fs.table.mu.Lock()
	defer fs.table.mu.Unlock()
	n.tree.nodes[n.ownNumber(e)] = n
	n.tree.aliased.Store(true)
}

// renumber gives a listing of t the numbers that lookups of its names show.
func (fs *FS) renumber(t *tree, found *names) {
	if !t.aliased.Load() {
		return
	}
	fs.table.mu.Lock()
	defer fs.table.mu.Unlock()
	for i := range found.all {
		if n := t.nodes[found.all[i].ino]; n != nil {
			found.all[i].ino = n.ino()
		}
	}
}

// unalias forgets it. Caller holds mu.
func (t *table) unalias(n *node) {
	e := n.entry.Load()
	if e.IsDir() || !e.Upper {
		return
	}
	if ino := n.ownNumber(e); n.tree.nodes[ino] == n {
		delete(n.tree.nodes, ino)
	}
}

// ownNumber is the number of the object of n's entry e by itself.
func (n *node) ownNumber(e *layers.Entry) uint64 {
	return n.tree.stack.IDs.Number(uint64(e.Stat.Dev), e.Stat.Ino)
}
