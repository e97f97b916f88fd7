package layers

import (
	"encoding/binary"
	"hash/maphash"
)

// nameSet is a set of names, each with the layer that it was first met in. The
// names lie one after the other in one piece of memory: a million of them are no
// more work for the collector than one.
type nameSet struct {
	text  []byte   // of each name: layer (2 bytes), length (1 byte), the name
	slots []uint64 // where in text a name begins, and 1; 0: free. A power of two of them
	count int
	seed  maphash.Seed
}

const (
	nameHead   = 3 // bytes before a name
	firstSlots = 64
)

func newNameSet() *nameSet {
	return &nameSet{slots: make([]uint64, firstSlots), seed: maphash.MakeSeed()}
}

// add notes that layer shows or hides name, and tells whether a layer before it did.
func (s *nameSet) add(name string, layer int) (before bool) {
	if 4*s.count >= 3*len(s.slots) {
		s.grow()
	}
	slot := s.find(name)
	if at := s.slots[slot]; at != 0 {
		return int(binary.NativeEndian.Uint16(s.text[at-1:])) != layer
	}
	s.slots[slot] = uint64(len(s.text)) + 1
	s.text = binary.NativeEndian.AppendUint16(s.text, uint16(layer))
	s.text = append(append(s.text, byte(len(name))), name...)
	s.count++
	return false
}

// has tells whether name is in the set.
func (s *nameSet) has(name string) bool { return s.slots[s.find(name)] != 0 }

// find returns the slot that has name, or the free one where it belongs.
func (s *nameSet) find(name string) uint64 {
	mask := uint64(len(s.slots) - 1)
	for i := maphash.String(s.seed, name) & mask; ; i = (i + 1) & mask {
		if at := s.slots[i]; at == 0 || string(s.name(at-1)) == name {
			return i
		}
	}
}

// name is the name that begins at at.
func (s *nameSet) name(at uint64) []byte {
	head := s.text[at : at+nameHead]
	return s.text[at+nameHead:][:head[nameHead-1]]
}

// grow doubles the slots.
func (s *nameSet) grow() {
	s.slots = make([]uint64, 2*len(s.slots))
	for at := 0; at < len(s.text); {
		name := s.name(uint64(at))
		s.slots[s.find(string(name))] = uint64(at) + 1
		at += nameHead + len(name)
	}
}
