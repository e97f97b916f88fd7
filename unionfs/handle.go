package unionfs

import (
	"sync"

	"github.com/unionmount/unionmount/layers/sys"
)

// handle is one OPEN of the kernel's. It keeps the node's descriptors from
// closing by age; on a volume's file it has a descriptor of its own.
type handle struct {
	node *node
	own  *desc // of a volume's file; nil else; immutable

	owners []uint64 // of locks taken through it; guarded by lockFiles.mu
}

// handles numbers the open ones.
type handles struct {
	mu   sync.Mutex
	m    map[uint64]*handle // guarded by mu
	next uint64             // guarded by mu
}

func (h *handles) init() { h.m = make(map[uint64]*handle) }

func (h *handles) add(x *handle) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.m[h.next] = x
	return h.next
}

func (h *handles) get(fh uint64) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m[fh]
}

// nodes are those that have handles.
func (h *handles) nodes() []*node {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*node, 0, len(h.m))
	for _, x := range h.m {
		all = append(all, x.node)
	}
	return all
}

func (h *handles) remove(fh uint64) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.m[fh]
	delete(h.m, fh)
	return x
}

// fileOf returns a descriptor of n's data to read or write through; the caller
// releases it. A volume's file that a handle has open is that handle's.
func (fs *FS) fileOf(n *node, fh uint64, hasFh, write bool) (*desc, error) {
	if n.tree.shared && hasFh {
		if h := fs.handles.get(fh); h != nil && h.own != nil && (!write || h.own.write) && (write || h.own.read) {
			h.own.refs.Add(1)
			return h.own, nil
		}
	}
	return fs.file(n, write)
}

// syncable returns a descriptor to sync n's data through. A volume's file has its handle's own, even one
// for writing alone: its name may be gone by now, and what writing said late, that one is told.
func (fs *FS) syncable(n *node, fh uint64) (*desc, error) {
	if n.tree.shared {
		if h := fs.handles.get(fh); h != nil && h.own != nil {
			h.own.refs.Add(1)
			return h.own, nil
		}
		return fs.file(n, false)
	}
	if n.entry.Load().Data() != nil { // a metacopy: its data lies below, names and attributes are to be synced
		fd, err := fs.reopen(n, sys.O_RDONLY)
		if err != nil {
			return nil, err
		}
		return newDesc(fd, false, false), nil
	}
	d, err := fs.file(n, n.tree.writer != nil)
	if err == sys.EACCES {
		d, err = fs.file(n, false)
	}
	return d, err
}
