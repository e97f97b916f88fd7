package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBench measures a few lines for real and leaves nothing behind.
func TestBench(t *testing.T) {
	s := newSite(t, 0)
	out := filepath.Join(s.dir, "result.json")
	work := filepath.Join(s.dir, "work-here")
	must(t, os.Mkdir(work, 0o755))
	fuseForAll(t)
	need(t, "fio")
	s.must("bench", "--quick", "--rounds", "1", "--only", "^(stat|create|random read 4k)$", "--dir", work,
		"--peer", "plain", "--peer", "overlayfs", "--peer", "cached", "--users", "--peer", "user",
		"--output", out, "--report", filepath.Join(s.dir, "report"))
	text, err := os.ReadFile(out)
	must(t, err)
	var r struct {
		Lines []struct {
			Name, Client string
			Cells        map[string]struct {
				NsPerOp  []float64
				Requests map[string]float64
				Error    string
			}
		}
	}
	must(t, json.Unmarshal(text, &r))
	seen := map[string]int{}
	for _, l := range r.Lines {
		for peer, c := range l.Cells {
			if c.Error != "" || len(c.NsPerOp) < 1 {
				t.Errorf("%s as %s on %s: %d rounds, %q", l.Name, l.Client, peer, len(c.NsPerOp), c.Error)
			}
			seen[peer]++
			if l.Name == "create" && peer == "cached" && c.Requests["MKNOD"] < 0.99 {
				t.Errorf("requests of create: %v", c.Requests)
			}
		}
	}
	for peer, want := range map[string]int{"plain": 6, "overlayfs": 6, "cached": 6, "user": 3} {
		if seen[peer] != want {
			t.Errorf("%s has %d cells, want %d", peer, seen[peer], want)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "report", "report.html")); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(work); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if r := s.must("bench", "compare", out, out); !strings.Contains(r, "nothing moved beyond noise") {
		t.Errorf("compared with itself: %s", r)
	}
}
