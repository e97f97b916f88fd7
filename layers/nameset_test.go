package layers

import (
	"fmt"
	"testing"
)

// TestNameSet: a name is known to the layers after the first that had it, not to that one itself.
func TestNameSet(t *testing.T) {
	s := newNameSet()
	const names = 10_000
	name := func(i int) string { return fmt.Sprintf("%0*d", 1+i%255, i) } // of each length
	known := make(map[string]int)
	for layer := range 3 {
		for twice := range 2 {
			for i := 0; i < names*(layer+1); i += layer + 1 {
				n := name(i)
				first, met := known[n]
				if !met {
					known[n], first = layer, layer
				}
				if s.has(n) != (met || twice > 0) {
					t.Fatalf("layer %d, time %d: has(%q) = %v", layer, twice, n, s.has(n))
				}
				if got := s.add(n, layer); got != (first != layer) {
					t.Fatalf("layer %d, time %d: add(%q) = %v, it was first met in layer %d", layer, twice, n, got, first)
				}
			}
		}
	}
	if s.count != len(known) {
		t.Errorf("%d names, want %d", s.count, len(known))
	}
}
