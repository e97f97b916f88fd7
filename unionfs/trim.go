package unionfs

import (
	"maps"
	"runtime/debug"
	"sync"
	"time"
)

// Memory follows what the kernel knows: many nodes make the collector run
// earlier, and when many have been forgotten their memory goes back to the system.

const (
	manyNodes = 50_000          // from here on memory is worth more than the collector's time
	trimAfter = 10_000          // forgotten nodes that are worth a trim
	trimQuiet = 2 * time.Second // how long nothing must have been forgotten
)

// trimmer notices the end of a wave of forgetting.
type trimmer struct {
	mu    sync.Mutex
	gone  int         // nodes since the last trim; guarded by mu
	timer *time.Timer // guarded by mu
}

// forgotten counts n nodes that are gone.
func (fs *FS) forgotten(n int) {
	t := &fs.trimmer
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone += n
	switch {
	case t.gone < trimAfter:
	case t.timer == nil:
		t.timer = time.AfterFunc(trimQuiet, fs.trim)
	default:
		t.timer.Reset(trimQuiet)
	}
}

// trim gives memory back. A map keeps the room of its best days, so the tables are made anew.
func (fs *FS) trim() {
	fs.trimmer.mu.Lock()
	fs.trimmer.gone = 0
	fs.trimmer.timer = nil
	fs.trimmer.mu.Unlock()
	fs.table.shrink()
	debug.FreeOSMemory()
}

func (t *table) shrink() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID, t.byKey = remade(t.byID), remade(t.byKey)
	t.tune()
}

func remade[K comparable, V any](old map[K]V) map[K]V {
	m := make(map[K]V, len(old))
	maps.Copy(m, old)
	return m
}

// tune lets the collector run by how much there is to know. Caller holds mu.
func (t *table) tune() {
	many := len(t.byID) >= manyNodes
	if many == t.many {
		return
	}
	t.many = many
	if many {
		debug.SetGCPercent(25)
	} else {
		debug.SetGCPercent(100)
	}
}
