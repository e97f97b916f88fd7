package unionfs

import (
	"maps"
	"runtime/debug"
	"time"
)

// Memory follows what the kernel knows: many nodes make the collector run
// earlier, and after a wave of them came or went what is left over goes back to
// the system.

const (
	manyNodes = 50_000          // from here on memory is worth more than the collector's time
	manyGC    = 25              // percent of garbage then
	trimAfter = 10_000          // nodes come and gone that are worth a trim
	trimQuiet = 2 * time.Second // how long the wave must have been over
	quietRate = 100             // nodes in that time that are no wave
)

// trimmer notices the end of a wave.
type trimmer struct {
	moved   int  // nodes that came or went
	trimmed int  // moved at the last trim
	waits   bool // a timer runs
	many    bool // what tune decided
}

// moved counts nodes that come and go. Caller holds mu.
func (t *table) moved(n int) {
	r := &t.trim
	r.moved += n
	if !r.waits && r.moved-r.trimmed >= trimAfter {
		r.waits = true
		t.settle(r.moved)
	}
	t.tune()
}

// settle trims once nothing much has moved for a while since moved was seen.
func (t *table) settle(seen int) {
	time.AfterFunc(trimQuiet, func() {
		t.mu.Lock()
		now := t.trim.moved
		if now-seen > quietRate {
			t.mu.Unlock()
			t.settle(now)
			return
		}
		t.trim.trimmed, t.trim.waits = now, false
		t.shrink()
		t.mu.Unlock()
		debug.FreeOSMemory()
	})
}

// shrink makes the tables anew where they have more room than is needed: a map
// keeps that of its best days. Caller holds mu.
func (t *table) shrink() {
	t.slots.shrink()
	for _, tr := range t.trees {
		old := tr.nodes
		tr.nodes = make(map[uint64]*node, len(old))
		maps.Copy(tr.nodes, old)
	}
	t.tune()
}

// tune lets the collector run by how much there is to know. Caller holds mu.
func (t *table) tune() {
	many := t.slots.count >= manyNodes
	if many == t.trim.many {
		return
	}
	t.trim.many = many
	if many {
		debug.SetGCPercent(manyGC)
	} else {
		debug.SetGCPercent(100)
	}
}
