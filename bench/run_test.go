package bench

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestMain makes this binary what a run measures: its client, and it tells a version.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == ClientArg:
		os.Exit(Client())
	case len(os.Args) == 2 && os.Args[1] == "version":
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newRunner prepares a run with peers of the test's own, which mount nothing.
func newRunner(t *testing.T, c Config, peers ...peer) *runner {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Binary, c.Dir, c.Log = binary, t.TempDir(), t.Logf
	r, err := c.prepare()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.clear(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(c.Dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	r.peers, r.result.Peers = peers, nil
	for _, p := range peers {
		r.result.Peers = append(r.result.Peers, Peer{Name: p.name})
	}
	return r
}

func fake(name string) peer { return peer{name: name, mount: mountPlain, unmount: nothing} }

// TestFailureCostsLines: a peer that fails loses its line and those after it; the others, and the lines before, go on.
func TestFailureCostsLines(t *testing.T) {
	unmounted, deaf, late := fake("unmounted"), fake("deaf"), fake("late")
	unmounted.mount = func(*site) error { return errors.New("no such thing") }
	deaf.unmount = func(*site) error { return errors.New("busy") }
	unmounted.volume, deaf.volume, late.volume = true, true, true // each gets a copy of its own
	late.mount = func(s *site) error {                            // rename has no room for the names it is to give
		s.view = s.flat
		return os.MkdirAll(s.flat+"/new/file00000.renamed/x", 0o755)
	}
	r := newRunner(t, Config{Quick: true, Rounds: 2, Only: regexp.MustCompile("^(read small files, again|create|rename|unlink)$")},
		fake(Plain), unmounted, deaf, late)
	if err := r.measure(context.Background()); err != nil {
		t.Fatal(err)
	}
	rounds := func(line, peer string) (int, string) {
		c := r.result.line(line, "", "root").cell(peer)
		return len(c.NsPerOp), c.Error
	}
	for _, line := range []string{"read small files, again", "create", "rename", "unlink"} {
		if n, why := rounds(line, Plain); n < 2 || why != "" {
			t.Errorf("%s on the good peer: %d rounds, %q", line, n, why)
		}
		if n, why := rounds(line, "unmounted"); n != 0 || !strings.Contains(why, "no such thing") && !strings.Contains(why, "not run") {
			t.Errorf("%s on the one without a mount: %d rounds, %q", line, n, why)
		}
		if _, why := rounds(line, "deaf"); !strings.Contains(why, "busy") && !strings.Contains(why, "not run") {
			t.Errorf("%s on the one that stays mounted: %q", line, why)
		}
		if _, ok := r.result.line(line, "", "root").Ratio("deaf", Plain); ok {
			t.Errorf("%s on the one that stays mounted has a ratio", line)
		}
	}
	if n, why := rounds("read small files, again", "late"); n < 2 || why != "" {
		t.Errorf("a scenario without the failure: %d rounds, %q", n, why)
	}
	if _, why := rounds("create", "late"); !strings.Contains(why, "file exists") {
		t.Errorf("create on the late one: %q", why)
	}
	if _, why := rounds("unlink", "late"); !strings.Contains(why, "create failed before") {
		t.Errorf("unlink on the late one: %q", why)
	}
	var table strings.Builder
	if err := r.result.Table(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"create on unmounted as root: mount: no such thing", "unlink on late as root: not run", "failed"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
}

// TestPreparation: what a line prepares is done before it is watched.
func TestPreparation(t *testing.T) {
	r := newRunner(t, Config{Quick: true, Only: regexp.MustCompile("untar")})
	s, _ := scenarioNamed("untar")
	prepared := false
	w := watch{
		begin: func(s *site) error {
			_, err := os.Stat(s.dir + "/tree.tar")
			prepared = err == nil
			return err
		},
		end:  func(phase, outcome) error { return nil },
		fail: func(_ phase, err error) { t.Error(err) },
	}
	if err := r.turn(context.Background(), s, fake(Plain), 0, w); err != nil || !prepared {
		t.Errorf("prepared: %v, %v", prepared, err)
	}
}

// TestCutOff: a client in the middle of a line is gone, with what it runs, as soon as the time is over.
func TestCutOff(t *testing.T) {
	if why := executable("fio"); why != "" {
		suite.Absent(t, why)
	}
	r := newRunner(t, Config{Time: 2 * time.Second, Only: regexp.MustCompile("^(random write 4k|write 4k and fsync)$")}, fake(Plain), fake(Overlay))
	start := time.Now()
	if err := r.measure(context.Background()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a run of 2 s took %v", took)
	}
	want := Absence{Line: "write 4k and fsync", Client: "root", Why: noTime}
	if !slices.Contains(r.result.LeftOut, want) || len(r.result.Failures) != 0 {
		t.Errorf("left out %v, failed %v", r.result.LeftOut, r.result.Failures)
	}
}

// TestQuickEnds: two minutes are the word, with what mounts and files need to go after the measuring.
func TestQuickEnds(t *testing.T) {
	r := newRunner(t, Config{Quick: true})
	if r.Time == 0 || r.Time > 110*time.Second {
		t.Errorf("a quick run may take %v", r.Time)
	}
	c := newClock(time.Minute)
	c.cost["long"] = time.Minute
	if c.fits("long", 1) || !c.fits("new", 1) || !newClock(0).fits("long", 0) {
		t.Error("the clock lets begin what would end too late, or nothing")
	}
}

// TestInterrupted: what was measured before is returned, and named is what was not.
func TestInterrupted(t *testing.T) {
	r := newRunner(t, Config{Quick: true, Only: regexp.MustCompile("^stat$")}, fake(Plain))
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := r.measure(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(r.result.LeftOut) != 1 || !strings.Contains(r.result.LeftOut[0].Why, "interrupted") {
		t.Errorf("left out: %v", r.result.LeftOut)
	}
}
