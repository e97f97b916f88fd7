package unionfs

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// listing is the merged listing of a directory while it is being read.
type listing struct {
	mu    sync.Mutex
	names *names // nil: to be read; guarded by mu, the names themselves don't change once they are ordered

	unsure atomic.Bool  // the kernel may have kept numbers of names that could not be looked up
	short  atomic.Bool  // names were left out of the looking up
	wanted atomic.Int32 // LOOKUPs since
}

// names is what a directory shows. Nothing in it is a pointer: a million names
// are no work for the collector.
type names struct {
	text []byte   // of each name: DT_*, the part that shows it, length (1 byte each), the name
	all  []listed // in the order of their offsets

	changes uint64 // of the directory when it was read, see dirLock
}

// nowhere stands for a part that is not to be relied on: upper, or one of very many.
const nowhere = 255

// listed is a name and its offset: a number drawn from the name itself, as ext4's
// are. The kernel may ask for what follows an offset at any time, also long after
// the listing was dropped or others have changed the directory: names that come
// and go must move no other (readdir(3)), and nothing but the name stays the same.
type listed struct {
	offset, ino uint64
	at          uint64 // where text has it
}

// Offsets 1 and 2 belong to "." and "..", the next to names; all fit a signed 63-bit off_t.
const (
	firstOffset = 3
	offsetMask  = 1<<62 - 1
)

// offsetOf draws a name's offset (FNV-1a).
func offsetOf(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 32
	return max(h&offsetMask, firstOffset)
}

func (n *names) add(found layers.Name) {
	n.all = append(n.all, listed{offsetOf(found.Name), found.Ino, uint64(len(n.text))})
	part := byte(nowhere)
	if found.Part >= 0 && found.Part < nowhere {
		part = byte(found.Part)
	}
	n.text = append(n.text, found.Type, part, byte(len(found.Name)))
	n.text = append(n.text, found.Name...)
}

func (n *names) name(l listed) []byte { return n.text[l.at+3:][:n.text[l.at+2]] }

// part is the only lower part that has to be asked for l; false: l is a directory,
// or lies in upper.
func (n *names) part(l listed) (int, bool) {
	kind, part := n.text[l.at], n.text[l.at+1]
	return int(part), part != nowhere && kind != sys.DT_DIR && kind != sys.DT_UNKNOWN
}

// mode is the type of l as st_mode has it.
func (n *names) mode(l listed) uint32 { return uint32(n.text[l.at]) << 12 }

// order sorts by offset. Where two names drew the same, the later moves on by one.
func (n *names) order() {
	slices.SortFunc(n.all, func(a, b listed) int {
		if a.offset != b.offset {
			return cmp.Compare(a.offset, b.offset)
		}
		return bytes.Compare(n.name(a), n.name(b))
	})
	for i := 1; i < len(n.all); i++ {
		n.all[i].offset = max(n.all[i].offset, n.all[i-1].offset+1)
	}
}

// after is where in all the names begin that follow an offset.
func (n *names) after(offset uint64) int {
	first, _ := slices.BinarySearchFunc(n.all, offset+1, func(l listed, off uint64) int { return cmp.Compare(l.offset, off) })
	return first
}

const (
	// firstLookedUp is how many names of a listing are looked up in any case. Looking up saves a request for each name if
	// the client wants its attributes, and costs a node if not.
	firstLookedUp = 1000
	// enoughWanted is how many LOOKUPs of names left out show that the client wants the attributes of all.
	enoughWanted = 100
)

// nameOnly tells whether the name at a place of the listing is not to be looked up with it.
func (l *listing) nameOnly(at int) bool {
	if at < firstLookedUp || l.wanted.Load() >= enoughWanted {
		return false
	}
	if !l.short.Load() {
		l.short.Store(true)
	}
	return true
}

// looked notes a LOOKUP in the directory.
func (l *listing) looked() {
	if l.short.Load() {
		l.wanted.Add(1)
	}
}
