package unionfs

import "sync/atomic"

// slots turns the kernel's numbers into nodes. A number is the place of the node
// in its low 32 bits, and above them a count that makes it another one when the
// place is used again. The first is 1, the root's (FUSE_ROOT_ID).
type slots struct {
	pages atomic.Pointer[[]atomic.Pointer[page]] // replaced by a longer or shorter copy

	// guarded by table.mu, which also orders every change
	free  []uint32 // places in pages; the next to take is the last
	made  uint32   // numbers drawn so far
	count int      // nodes
}

const pageSize = 512 // places; 4 KiB

type page [pageSize]atomic.Pointer[node]

// get takes no lock. It is nil for a number that is not in use.
func (s *slots) get(id uint64) *node {
	pages := s.pages.Load()
	if pages == nil {
		return nil
	}
	i := uint32(id) / pageSize
	if uint64(i) >= uint64(len(*pages)) {
		return nil
	}
	p := (*pages)[i].Load()
	if p == nil {
		return nil
	}
	if n := p[uint32(id)%pageSize].Load(); n != nil && n.id == id {
		return n
	}
	return nil
}

// put gives n its number. Caller holds table.mu.
func (s *slots) put(n *node) {
	if len(s.free) == 0 {
		s.grow()
	}
	at := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	n.id = uint64(s.made)<<32 | uint64(at)
	s.made++
	s.count++
	s.place(at).Store(n)
}

// remove ends n's number. Caller holds table.mu.
func (s *slots) remove(n *node) {
	at := uint32(n.id)
	s.place(at).Store(nil)
	s.free = append(s.free, at)
	s.count--
}

func (s *slots) place(at uint32) *atomic.Pointer[node] {
	return &(*s.pages.Load())[at/pageSize].Load()[at%pageSize]
}

// grow makes one more page.
func (s *slots) grow() {
	var pages []atomic.Pointer[page]
	if p := s.pages.Load(); p != nil {
		pages = *p
	}
	at := 0
	for at < len(pages) && pages[at].Load() != nil {
		at++
	}
	if at == len(pages) {
		pages = s.resize(max(8, 2*at))
	}
	p := new(page)
	pages[at].Store(p)
	s.addFree(at, p)
}

// addFree notes the free places of a page, so that the first are taken first.
func (s *slots) addFree(at int, p *page) {
	for i := pageSize - 1; i >= 0; i-- {
		if id := uint32(at*pageSize + i); id > 0 && p[i].Load() == nil {
			s.free = append(s.free, id)
		}
	}
}

func (s *slots) resize(size int) []atomic.Pointer[page] {
	pages := make([]atomic.Pointer[page], size)
	if old := s.pages.Load(); old != nil {
		for i := range min(size, len(*old)) {
			pages[i].Store((*old)[i].Load())
		}
	}
	s.pages.Store(&pages)
	return pages
}

// shrink gives up empty pages. Caller holds table.mu.
func (s *slots) shrink() {
	old := s.pages.Load()
	if old == nil {
		return
	}
	last := 0
	s.free = nil
	for at := len(*old) - 1; at >= 0; at-- {
		p := (*old)[at].Load()
		switch {
		case p == nil:
		case p.empty():
			(*old)[at].Store(nil)
		default:
			last = max(last, at+1)
			s.addFree(at, p)
		}
	}
	s.resize(last)
}

func (p *page) empty() bool {
	for i := range p {
		if p[i].Load() != nil {
			return false
		}
	}
	return true
}

// each calls f for every node. Caller holds table.mu.
func (s *slots) each(f func(*node)) {
	pages := s.pages.Load()
	if pages == nil {
		return
	}
	for i := range *pages {
		p := (*pages)[i].Load()
		for j := range pageSize {
			if p == nil {
				break
			}
			if n := p[j].Load(); n != nil {
				f(n)
			}
		}
	}
}
