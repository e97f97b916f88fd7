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

// TestBenchUring: io_uring on and off are two peers of one run, and the switch is as before after it.
func TestBenchUring(t *testing.T) {
	uringSwitch(t, "N")
	s := newSite(t, 0)
	work := filepath.Join(s.dir, "work-here")
	must(t, os.Mkdir(work, 0o755))
	bench := func(flags ...string) map[string]string {
		t.Helper()
		var r struct {
			Peers []struct{ Name, Missing, Transport string }
		}
		out := s.must(append([]string{"bench", "--quick", "--rounds", "1", "--only", "^stat$", "--dir", work, "--requests=false", "--format", "json",
			"--peer", "overlayfs", "--peer", "cached", "--peer", "cached-device"}, flags...)...)
		must(t, json.Unmarshal([]byte(out), &r))
		ways := map[string]string{}
		for _, p := range r.Peers {
			ways[p.Name] = p.Transport + p.Missing
		}
		return ways
	}
	if ways := bench("--io-uring"); ways["cached"] != "io_uring" || ways["cached-device"] != "device" {
		t.Errorf("requests came by %v", ways)
	}
	now, err := os.ReadFile("/sys/module/fuse/parameters/enable_uring")
	must(t, err)
	if string(now) != "N\n" {
		t.Errorf("the switch is %q after the run", now)
	}
	if ways := bench(); ways["cached"] != "device" || !strings.Contains(ways["cached-device"], "--io-uring") {
		t.Errorf("without the flag: %v", ways)
	}
}

// TestBenchWithoutTime: a run ends in its time and names what it had no room for; a failure costs the exit code, not the result.
func TestBenchWithoutTime(t *testing.T) {
	s := newSite(t, 0)
	var r struct {
		LeftOut, Failures []struct{ Line, Peer, Why string }
	}
	must(t, json.Unmarshal([]byte(s.must("bench", "--quick", "--time", "1ms", "--dir", s.dir, "--peer", "plain", "--peer", "overlayfs", "--format", "json")), &r))
	named := map[string]bool{}
	for _, a := range r.LeftOut {
		named[a.Line] = strings.Contains(a.Why, "--time")
	}
	if !named["create"] || !named["random read 4k"] {
		t.Errorf("left out: %v", r.LeftOut)
	}
	bad := command(t, suite.binary, "bench", "--quick", "--rounds", "1", "--only", "^create$", "--dir", s.dir, "--peer", "plain", "--peer", "fuse-overlayfs", "--requests=false", "--format", "json")
	broken := t.TempDir()
	write(t, filepath.Join(broken, "fuse-overlayfs"), "#!/bin/sh\necho no >&2; exit 1\n")
	must(t, os.Chmod(filepath.Join(broken, "fuse-overlayfs"), 0o755))
	bad.Env = append(os.Environ(), "PATH="+broken+":"+os.Getenv("PATH"))
	got := finish(bad)
	if got.code != 1 || !strings.Contains(got.stderr, "1 lines failed") {
		t.Errorf("a peer that can't be mounted: %v", got)
	}
	must(t, json.Unmarshal([]byte(got.stdout), &r))
	if len(r.Failures) != 1 || r.Failures[0].Peer != "fuse-overlayfs" || !strings.Contains(r.Failures[0].Why, "no") {
		t.Errorf("failures: %v", r.Failures)
	}
}
