package layers

import (
	"sync"
	"sync/atomic"
)

// Identity draws one number for every (device, inode):
//
//	63        62......48      47..........................0
//	0         device's slot   inode number on that device
//	1         number of first sight (the inode number has more than 48 bits)
//
// Slots go to the layers' devices in a fixed order, upper first, then from the
// bottom up, so that the same stack shows the same numbers at every mount, and
// a layer put on top changes none. Numbers with bit 63 last as long as the
// mount (docs/semantics.md). Safe for concurrent use.
type Identity struct {
	devs atomic.Pointer[[]uint64] // slot → device; replaced whole

	mu   sync.Mutex
	wide map[[2]uint64]uint64 // guarded by mu
}

const (
	inoBits  = 48
	maxSlots = 1 << 15
	wideBit  = 1 << 63
)

// NewIdentity gives slots to devices in the order given; repeats are harmless.
func NewIdentity(devs ...uint64) *Identity {
	id := &Identity{wide: make(map[[2]uint64]uint64)}
	id.devs.Store(&[]uint64{})
	for _, d := range devs {
		id.slot(d)
	}
	return id
}

// Number draws the number of inode ino on device dev.
func (id *Identity) Number(dev, ino uint64) uint64 {
	slot := id.slot(dev)
	if ino < 1<<inoBits && slot < maxSlots {
		return slot<<inoBits | ino
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	key := [2]uint64{dev, ino}
	n, ok := id.wide[key]
	if !ok {
		n = wideBit | uint64(len(id.wide)+1)
		id.wide[key] = n
	}
	return n
}

func (id *Identity) slot(dev uint64) uint64 {
	for i, d := range *id.devs.Load() {
		if d == dev {
			return uint64(i)
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	old := *id.devs.Load()
	for i, d := range old {
		if d == dev {
			return uint64(i)
		}
	}
	devs := append(append([]uint64(nil), old...), dev)
	id.devs.Store(&devs)
	return uint64(len(old))
}

// Invent draws a number for a directory that no device has.
func (id *Identity) Invent() uint64 {
	id.mu.Lock()
	n := uint64(len(id.wide))
	id.mu.Unlock()
	return id.Number(^uint64(0), 1<<inoBits|n)
}
