package bench

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOrder: over the rounds each peer goes before each other one as often as after it.
func TestOrder(t *testing.T) {
	all := peers()
	before := map[[2]string]int{}
	for round := range 2 * len(all) {
		turns := inTurn(all, round)
		for i, first := range turns {
			for _, second := range turns[i+1:] {
				before[[2]string{first.name, second.name}]++
			}
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if x, y := before[[2]string{a.name, b.name}], before[[2]string{b.name, a.name}]; x != y {
				t.Errorf("%s before %s in %d rounds, after it in %d", a.name, b.name, x, y)
			}
		}
	}
	if turns := inTurn(all, 1); turns[len(turns)-1].name != all[0].name {
		t.Errorf("the second round begins with %s and ends with %s: not backwards", turns[0].name, turns[len(turns)-1].name)
	}
}

// TestWarm: what a turn works on is in the page cache before its mount, unless it begins with a cold line.
func TestWarm(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, dataFile)
	if err := os.WriteFile(file, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	cached := func() bool {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n, err := unix.Preadv2(int(f.Fd()), [][]byte{make([]byte, 4096)}, 1<<20, unix.RWF_NOWAIT)
		return err == nil && n > 0
	}
	chill := func() {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
	}
	chill()
	if cached() {
		t.Skip("this file system keeps or reads ahead what it is told to forget")
	}
	r, s := new(runner), &site{lowers: []string{dir}, flat: "/nothing"}
	for _, c := range []struct {
		cold, want bool
	}{{true, false}, {false, true}} {
		chill()
		if err := r.warm(scenario{phases: []phase{{cold: c.cold}}}, peer{}, s); err != nil {
			t.Fatal(err)
		}
		if got := cached(); got != c.want {
			t.Errorf("a first line that is cold (%v) found its file cached: %v", c.cold, got)
		}
	}
	// A volume works in the plain copy, and is spared the lines about lower layers.
	s.flat = dir
	s.lowers = []string{"/nothing"}
	chill()
	if err := r.warm(scenario{phases: []phase{{lower: true, cold: true}, {}}}, peer{volume: true}, s); err != nil || !cached() {
		t.Errorf("a volume's copy is not warm: %v", err)
	}
}
