package main_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPruneReadsTheFiles: a listing may be older than a volume's file, which is the
// truth: one that was kept by hand since was deleted.
func TestPruneReadsTheFiles(t *testing.T) {
	s := newSite(t, 1)
	one := strings.TrimSpace(s.must("volume", "create"))
	s.must("volume", "ls")
	write(t, s.root+"/volumes/"+one+"/options.json", `{"version": 1, "driver": "local", "createdAt": "2026-01-01T00:00:00Z"}`)
	s.must("volume", "prune", "-f")
	s.volume(one)
	write(t, s.root+"/volumes/"+one+"/options.json", `{"version": 1, "driver": "local", "createdAt": "2026-01-01T00:00:00Z", "labels": {"keep": ""}}`)
	s.must("volume", "prune", "-a", "-f", "--filter", "label!=keep")
	s.volume(one)
}

// TestVolumePrune: anonymous ones, -a named ones, never those in use or with driver options.
func TestVolumePrune(t *testing.T) {
	s := newSite(t, 1)
	if out := s.must("volume", "prune", "-f"); out != "Total reclaimed space: 0B\n" {
		t.Errorf("with nothing to do: %q", out)
	}
	s.must("volume", "create", "named")
	s.must("volume", "create", "labelled", "--label", "keep")
	s.must("volume", "create", "options", "-o", "type=tmpfs", "-o", "device=tmpfs")
	s.must("volume", "create", "owned", "-o", "o=uid=1")
	one := strings.TrimSpace(s.must("volume", "create"))
	write(t, s.data(one, "f"), strings.Repeat("x", 36))
	s.mount("-v", "/used")
	used := s.inspect().Volumes[0].Name
	if out, want := s.must("volume", "prune", "-f"), fmt.Sprintf("Deleted Volumes:\n%s\n\nTotal reclaimed space: 36B\n", one); out != want {
		t.Errorf("prune printed %q, want %q", out, want)
	}
	if out := s.must("volume", "prune", "-a", "-f", "--filter", "label!=keep"); !strings.Contains(out, "Deleted Volumes:\nnamed\n\n") {
		t.Errorf("prune -a printed %q", out)
	}
	s.must("volume", "prune", "-a", "-f")
	want := []string{used, "options", "owned"}
	slices.Sort(want)
	if got := s.volumes(); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	s.umount()
	s.must("volume", "prune", "-f")
	if got := s.volumes(); !slices.Equal(got, want) {
		t.Errorf("prune took a stopped mount's volume: %v", got)
	}
	s.must("rm", "m")
	s.must("volume", "prune", "-f")
	if got := s.volumes(); !slices.Equal(got, []string{"options", "owned"}) {
		t.Errorf("left: %v", got)
	}
	lock, err := os.OpenFile(s.root+"/prune.lock", os.O_RDWR, 0)
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	s.refused(4, []string{"a prune operation is already running"}, "volume", "prune", "-f")
}

// TestVolumePruneFilters: label, label! and all, as docker volume prune has them. What
// would choose otherwise is refused, and nothing is deleted.
func TestVolumePruneFilters(t *testing.T) {
	s := newSite(t, 1)
	for _, c := range []struct{ gone, filters string }{
		{"web", "label=tier=web"},
		{"data web", "label=tier"},
		{"", "label=tier label=none"},
		{"data", "label=tier label=keep"},
		{"bare web", "label!=keep"},
		{"bare data", "label!=tier=web"},
		{"bare", "label!=keep label!=tier=web"},
		{"web", "label=tier label!=keep"},
		{"bare data web", "all=true"},
		{"", "all=false"},
		{"web", "all=1 label=tier=web"},
	} {
		s.must("volume", "create", "bare")
		s.must("volume", "create", "data", "--label", "tier=data", "--label", "keep")
		s.must("volume", "create", "web", "--label", "tier=web")
		args := []string{"volume", "prune", "-f"}
		if !strings.Contains(c.filters, "all=") {
			args = append(args, "-a")
		}
		for _, f := range strings.Fields(c.filters) {
			args = append(args, "--filter", f)
		}
		out, _, _ := strings.Cut(strings.TrimPrefix(s.must(args...), "Deleted Volumes:\n"), "Total reclaimed space:")
		if gone := strings.Join(strings.Fields(out), " "); gone != c.gone {
			t.Errorf("prune of %s deleted %q, want %q", c.filters, gone, c.gone)
		}
	}
	s.must("volume", "create", "bare")
	for _, f := range []string{"name=bare", "driver=local", "dangling=true", "until=1h", "odd=1", "all=maybe", "label"} {
		s.refused(2, nil, "volume", "prune", "-a", "-f", "--filter", f)
	}
	if got := s.volumes("-f", "name=bare"); !slices.Equal(got, []string{"bare"}) {
		t.Errorf("a refused prune left %v", got)
	}
}

// TestVolumePruneAsks: on a terminal, what it is about to delete; a bad filter is refused before that.
func TestVolumePruneAsks(t *testing.T) {
	need(t, "script")
	s := newSite(t, 0)
	s.must("volume", "create", "bare")
	asked := func(answer string, flags ...string) result {
		line := strings.Join(append([]string{suite.binary, "--root", s.root, "volume", "prune"}, flags...), " ")
		cmd := command(t, "script", "-qec", line, "/dev/null")
		cmd.Stdin = strings.NewReader(answer + "\n")
		return finish(cmd)
	}
	for _, f := range []string{"name=bare", "odd=1", "all=maybe", "label"} {
		if r := asked("y", "-a", "--filter", f); r.code != 2 || strings.Contains(r.stdout, "Are you sure") {
			t.Errorf("the filter %s: %s", f, r)
		}
	}
	if r := asked("n", "--filter", "all=true"); r.code != 0 || !strings.Contains(r.stdout, "remove all local volumes") {
		t.Errorf("asked: %s", r)
	}
	if got := s.volumes(); !slices.Equal(got, []string{"bare"}) {
		t.Fatalf("after no: %v", got)
	}
	if r := asked("y", "-a"); r.code != 0 || !strings.Contains(r.stdout, "Deleted Volumes:") {
		t.Errorf("answered yes: %s", r)
	}
}
