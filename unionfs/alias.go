package unionfs

import "github.com/unionmount/unionmount/layers"

// A special file that is copied up to an upper with user.* marks can't say there
// where it comes from: who looks its name up again finds its own number. As long
// as the mount lasts the node is known by both.

// alias notes the number that n's copy has by itself, if it can't say another.
func (fs *FS) alias(n *node, e *layers.Entry) {
	if e.IsDir() || e.IsRegular() || n.tree.stack.MarksPrefix != layers.PrefixUser {
		return
	}
	fs.table.mu.Lock()
	defer fs.table.mu.Unlock()
	n.tree.nodes[n.ownNumber(e)] = n
}

// unalias forgets it. Caller holds mu.
func (t *table) unalias(n *node) {
	e := n.entry.Load()
	if e.IsDir() || e.IsRegular() || !e.Upper {
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
