package unionfs

import (
	"fmt"
	"testing"

	"github.com/unionmount/unionmount/layers"
)

// TestOffsetsBelongToNames: a name keeps its offset whatever else comes and
// goes and in whatever order the layers give the names. They once were positions
// in the first listing, and a listing read anew in the middle lost names.
func TestOffsetsBelongToNames(t *testing.T) {
	var all []layers.Name
	for i := range 5000 {
		all = append(all, layers.Name{Name: fmt.Sprint("name-", i)})
	}
	before := make(map[string]uint64)
	for _, n := range order(all) {
		before[n.Name.Name] = n.offset
	}
	half := make([]layers.Name, 0, len(all))
	for i := len(all) - 1; i >= 0; i -= 2 {
		half = append(half, all[i])
	}
	last := uint64(firstOffset - 1)
	for _, n := range order(half) {
		if n.offset != before[n.Name.Name] {
			t.Errorf("%s: offset %d, was %d", n.Name.Name, n.offset, before[n.Name.Name])
		}
		if n.offset <= last {
			t.Errorf("%s: offset %d after %d", n.Name.Name, n.offset, last)
		}
		last = n.offset
	}
}
