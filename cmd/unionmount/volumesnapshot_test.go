package main_test

import (
	"os"
	"strings"
	"testing"
)

// TestVolumeSnapshots keeps what a volume held, makes volumes of it, and refuses what would lose it.
func TestVolumeSnapshots(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	data := s.root + "/volumes/db/_data"
	write(t, data+"/file", "first\n")
	must(t, os.Link(data+"/file", data+"/link"))
	if out := s.must("volume", "snapshot", "create", "db", "one"); out != "db@one\n" {
		t.Errorf("snapshot create printed %q", out)
	}
	write(t, data+"/file", "second\n")
	s.must("volume", "create", "old", "--from", "db@one")
	s.must("volume", "create", "new", "--from", "db")
	for name, want := range map[string]string{"old": "first\n", "new": "second\n"} {
		got, err := os.ReadFile(s.root + "/volumes/" + name + "/_data/link")
		if must(t, err); string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	if out := s.must("volume", "snapshot", "ls", "db"); !strings.HasPrefix(out, "db@one\t") {
		t.Errorf("snapshot ls printed %q", out)
	}
	s.refused(4, []string{"db", "one"}, "volume", "rm", "-f", "db")
	s.refused(4, []string{"one"}, "volume", "snapshot", "create", "db", "one")
	s.refused(3, []string{"none"}, "volume", "snapshot", "create", "none", "one")
	s.refused(3, []string{"two"}, "volume", "create", "other", "--from", "db@two")
	s.mount("-v", "db:/db")
	s.refused(4, []string{s.name, "--live"}, "volume", "snapshot", "create", "db", "two")
	s.must("volume", "snapshot", "create", "--live", "db", "two")
	s.umount()
	s.must("rm", s.name)
	s.must("volume", "snapshot", "rm", "db@one")
	s.must("volume", "snapshot", "rm", "db@two")
	s.must("volume", "rm", "db")
}
