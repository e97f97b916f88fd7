package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// shown is the names that layers show together, by how they are filled.
func shown(t *testing.T, n int, fill func(string, int, float64) error) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for layer := range n {
		dir := t.TempDir()
		if err := fill(dir, layer, 0.1); err != nil {
			t.Fatal(err)
		}
		c := &client{Dir: dir}
		if err := find(c); err != nil {
			t.Fatal(err)
		}
		for _, p := range c.seen {
			rel, err := filepath.Rel(dir, p)
			if err != nil || all[rel] {
				t.Fatalf("%s is in two layers: %v", rel, err)
			}
			all[rel] = true
		}
	}
	return all
}

// TestStackIsTheSame: more layers are no more work.
func TestStackIsTheSame(t *testing.T) {
	one := shown(t, 1, fillStack(1))
	for _, n := range []int{10, 100} {
		if got := shown(t, n, fillStack(n)); !maps.Equal(got, one) {
			t.Errorf("%d layers show %d files, one shows %d", n, len(got), len(one))
		}
	}
}

// TestAtOnce: the clients run at the same time, and the work of all is the same for any number.
func TestAtOnce(t *testing.T) {
	const n = 16
	var here sync.WaitGroup
	here.Add(n)
	meet := func(*client, int, int) (int64, error) {
		here.Done()
		here.Wait()
		return 1, nil
	}
	if ops, err := atOnce(n, meet)(nil); ops != n || err != nil {
		t.Errorf("%d clients met: %v", ops, err)
	}
	for name, work := range map[string]func(*client, int, int) (int64, error){"walk": walkShare, "stat": statShare, "create": createShare} {
		var want int64
		for _, n := range []int{1, 2, 4, 8, 16} {
			c := &client{Dir: t.TempDir(), Scale: 0.1}
			if err := fillSource(c.Dir, 0, 0.05); err != nil {
				t.Fatal(err)
			}
			prepare := listTop
			if name == "stat" {
				prepare = find
			}
			if err := prepare(c); err != nil {
				t.Fatal(err)
			}
			ops, err := atOnce(n, work)(c)
			if err != nil {
				t.Fatal(err)
			}
			if want == 0 {
				want = ops
			}
			if ops != want || ops == 0 {
				t.Errorf("%s of %d clients: %d operations, of one %d", name, n, ops, want)
			}
		}
	}
}

// TestGrowthOnly: a curve can be measured without any line, and what it makes is gone in its next round.
func TestGrowthOnly(t *testing.T) {
	r := newRunner(t, Config{Quick: true, Rounds: 2, Growth: true, Only: regexp.MustCompile("^create by several")}, fake(Plain))
	if err := r.measure(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.result.Lines) != 0 || len(r.result.Curves) != 1 || len(r.result.Curves[0].Points) != 3 || len(r.result.LeftOut) != 0 {
		t.Fatalf("%d lines, curves %+v, left out %v", len(r.result.Lines), r.result.Curves, r.result.LeftOut)
	}
	for _, p := range r.result.Curves[0].Points {
		if c := p.Cells[Plain]; c.empty() || c.Error != "" {
			t.Errorf("%v clients: %+v", p.X, c)
		}
	}
	r = newRunner(t, Config{Quick: true, Growth: true, Only: regexp.MustCompile("no such thing")}, fake(Plain))
	if err := r.measure(context.Background()); err == nil {
		t.Error("a run of nothing")
	}
}

// TestGrowthWithoutTime: what no time was left for is named, memory too.
func TestGrowthWithoutTime(t *testing.T) {
	ours := fake("cached")
	ours.ours = true
	r := newRunner(t, Config{Quick: true, Growth: true, Time: 1, Only: regexp.MustCompile("clients|memory")}, fake(Plain), ours)
	if err := r.measure(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.result.LeftOut) != 3*3+1 {
		t.Errorf("named: %v", r.result.LeftOut)
	}
}

func TestPerFile(t *testing.T) {
	if got := (Memory{BaseFiles: 129, Files: 1129, Idle: 1, Base: 500_000, Known: 800_000}).PerFile(); fmt.Sprint(got) != "300" {
		t.Errorf("%v bytes a file", got)
	}
	if manyFiles < 200_000 {
		t.Error("too few files to tell what one costs")
	}
}

// TestTreesGo: what a tree that failed had made is gone, so that the next try says why it fails too; a tree that
// nobody asks for any more goes, and others stay.
func TestTreesGo(t *testing.T) {
	r := newRunner(t, Config{Quick: true})
	var full error
	wide := scenario{tree: tree{name: "wide", layers: 1, fill: func(dir string, _ int, _ float64) error { return errors.Join(os.Mkdir(dir+"/d", 0o755), full) }}}
	full = unix.ENOSPC
	for range 2 {
		if _, err := r.tree(wide, 0); !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "exists") {
			t.Errorf("a tree that doesn't fit: %v", err)
		}
	}
	full = nil
	other := scenario{tree: emptyTree}
	there := func(m made) bool { _, err := os.Stat(m.base); return err == nil }
	w, err := r.tree(wide, 0)
	o, err2 := r.tree(other, 0)
	if err = errors.Join(err, err2, r.forget(func(name string) bool { return name == "wide" })); err != nil {
		t.Fatal(err)
	}
	if there(w) || !there(o) {
		t.Errorf("the tree forgotten is there: %v; the other: %v", there(w), there(o))
	}
}

// TestCommandError: of what a program printed the last is kept.
func TestCommandError(t *testing.T) {
	err := commandError("cp", unix.ENOSPC, []byte(strings.Repeat("no room\n", 1<<20)+"the end\n"))
	if text := err.Error(); len(text) > 2*mostOutput || !strings.HasPrefix(text, "cp: no space") || !strings.HasSuffix(text, "the end") {
		t.Errorf("%d bytes: %.100s", len(text), text)
	}
}
