package bench

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// lineOf makes a line from samples by peer; every peer was in each round.
func lineOf(name string, samples map[string][]float64) *Line {
	l := &Line{Name: name, Kind: KindMetadata, Client: "root", Cells: map[string]*Cell{}}
	for peer, ns := range samples {
		c := l.cell(peer)
		for i, v := range ns {
			c.Rounds = append(c.Rounds, i)
			c.NsPerOp = append(c.NsPerOp, v)
		}
	}
	return l
}

func TestEstimate(t *testing.T) {
	for _, c := range []struct {
		values                     []float64
		center, lo, hi, confidence float64
	}{
		{[]float64{3}, 3, 3, 3, 0},
		{[]float64{1, 2, 9}, 2, 1, 9, 0.75}, // too few for the confidence: the whole range
		{[]float64{1, 2, 3, 4, 9}, 3, 1, 9, 0.9375},
		{[]float64{1, 2, 3, 4, 5, 9}, 3.5, 1, 9, 0.96875},
		{[]float64{5, 1, 4, 2, 3, 6, 7, 8, 9, 10, 11}, 6, 2, 9, 0.96142578125},
	} {
		if e := estimate(c.values); e.Center != c.center || e.Lo != c.lo || e.Hi != c.hi || math.Abs(e.Confidence-c.confidence) > 1e-9 {
			t.Errorf("%v: %+v", c.values, e)
		}
	}
	if e := estimate(nil); !math.IsNaN(e.Center) {
		t.Errorf("of nothing: %+v", e)
	}
}

// TestRatiosStayInTheirRounds: the table's ratios were of values of different rounds, because the time beside them, printed
// first, had been sorted in place.
func TestRatiosStayInTheirRounds(t *testing.T) {
	l := lineOf("stat", map[string][]float64{Overlay: {30, 10, 20}, "cached": {15, 5, 10}})
	for range 2 {
		if e, ok := l.Ratio("cached", Overlay); !ok || e.Lo != 2 || e.Hi != 2 {
			t.Errorf("twice as fast in each round is called %+v", e)
		}
		l.Cells[Overlay].Time()
	}
}

// TestCoverage: intervals hold the true median as often as they say, of what is spread unevenly as times are.
func TestCoverage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{2, 3, 5, 6, 9} {
		const tries = 20000
		held, said := 0, 0.0
		for range tries {
			values := make([]float64, n)
			for i := range values {
				values[i] = math.Exp(rng.NormFloat64()) // its median is 1
			}
			e := estimate(values)
			said = e.Confidence
			if e.Lo <= 1 && 1 <= e.Hi {
				held++
			}
		}
		if got := float64(held) / tries; math.Abs(got-said) > 0.012 {
			t.Errorf("of %d rounds the interval holds the median in %.3f of all cases, and says %.3f", n, got, said)
		}
	}
}

// TestRatioGoesByRound: a round in which everything is slow must not move a ratio.
func TestRatioGoesByRound(t *testing.T) {
	l := lineOf("x", map[string][]float64{Overlay: {10, 100, 10, 1000, 10}, "cached": {20, 200, 20, 2000, 20}})
	if e, ok := l.Ratio("cached", Overlay); !ok || e.Center != 0.5 || e.width() != 0 {
		t.Errorf("%+v", e)
	}
	l.Cells["cached"].Rounds = []int{7, 8, 9, 10, 11}
	if _, ok := l.Ratio("cached", Overlay); ok {
		t.Error("a ratio of rounds that were not the same")
	}
}

func TestUnsure(t *testing.T) {
	steady := lineOf("x", map[string][]float64{Overlay: {10, 10, 10}, "cached": {10, 10.1, 9.9}})
	shaky := lineOf("x", map[string][]float64{Overlay: {10, 10, 10}, "cached": {5, 10, 20}})
	if steady.unsure(Overlay) || !shaky.unsure(Overlay) {
		t.Error("noise is not told from what is steady")
	}
}

// TestReference: noise and ratios are against the peer that was asked for, or against what there is.
func TestReference(t *testing.T) {
	for _, c := range []struct {
		against, want string
		peers         []Peer
	}{
		{"", Overlay, []Peer{{Name: Plain}, {Name: Overlay}, {Name: "cached"}}},
		{"cached", "cached", []Peer{{Name: Plain}, {Name: Overlay}, {Name: "cached"}}},
		{"", Plain, []Peer{{Name: Plain}, {Name: Overlay, Missing: "none"}, {Name: "cached"}}},
		{"", "open", []Peer{{Name: "cached", Missing: "none"}, {Name: "open"}, {Name: "user"}}},
		{"", "", nil},
	} {
		if got := (&Result{Against: c.against, Peers: c.peers}).reference(); got != c.want {
			t.Errorf("against %q of %v: %s, want %s", c.against, c.peers, got, c.want)
		}
	}
	r := &runner{Config: Config{Peers: []string{"plain", "cached"}, Against: "cached"}, result: &Result{}, moreOf: map[string]bool{}}
	if err := r.choosePeers(); err != nil {
		t.Fatal(err)
	}
	r.result.Lines = []*Line{lineOf("x", map[string][]float64{"plain": {10, 10, 10}, "cached": {5, 10, 20}})}
	r.judge(scenario{name: "s", phases: []phase{{line: "x"}}})
	if !r.moreOf["s"] || !r.result.Lines[0].Noisy {
		t.Error("noise against a peer other than overlayfs is not seen")
	}
	r.Against = "open"
	if err := r.choosePeers(); !errors.As(err, new(Misuse)) {
		t.Errorf("against one that is not measured: %v", err)
	}
}

func TestGeoMean(t *testing.T) {
	r := &Result{Lines: []*Line{
		lineOf("a", map[string][]float64{Overlay: {10}, "cached": {5}}),
		lineOf("b", map[string][]float64{Overlay: {10}, "cached": {20}}),
	}}
	if mean, n := r.GeoMean("cached", Overlay, "root", ""); n != 2 || math.Abs(mean-1) > 1e-9 {
		t.Errorf("%v of %d lines", mean, n)
	}
}

// TestCompare: what halved its speed is named, what only trembles is not.
func TestCompare(t *testing.T) {
	result := func(cached, open []float64) *Result {
		ten := []float64{10, 10, 10, 10, 10, 10}
		return &Result{Peers: []Peer{{Name: Overlay}, {Name: "cached"}, {Name: "open"}},
			Lines: []*Line{lineOf("stat", map[string][]float64{Overlay: ten, "cached": cached, "open": open})}}
	}
	older := result([]float64{10, 10.2, 9.9, 10.1, 10, 9.8}, []float64{20, 21, 19, 20, 22, 20})
	newer := result([]float64{20, 20.2, 19.9, 20.1, 20, 19.8}, []float64{21, 20, 20, 19, 21, 20})
	c := Compare(older, newer)
	if c.All != 2 || c.Weak != 0 || len(c.Moved) != 1 || c.Moved[0].Peer != "cached" || math.Abs(c.Moved[0].Change+0.5) > 0.05 {
		t.Errorf("%+v", c)
	}
	if leastP(3, 3) < significance || leastP(4, 4) >= significance || math.Abs(leastP(4, 4)-2.0/70) > 1e-12 {
		t.Errorf("the least P of 3 and 3 rounds is %v, of 4 and 4 %v", leastP(3, 3), leastP(4, 4))
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil || !strings.Contains(out.String(), "1 of 2") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestFioReport reads what the installed fio really prints, for every job file.
func TestFioReport(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		suite.Absent(t, "the command fio is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, dataFile), make([]byte, 8<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios() {
		for _, p := range s.phases {
			if p.fio == "" {
				continue
			}
			c := client{Dir: dir, Scratch: t.TempDir(), Scale: 1.0 / 64, Runtime: 20e6}
			o := c.do(p)
			if o.Err != "" || o.Ops == 0 || o.Nanoseconds == 0 || o.Bytes/o.Ops < 4096 || len(o.Fio) == 0 {
				t.Errorf("%s: %d operations in %d ns: %s", p.line, o.Ops, o.Nanoseconds, o.Err)
			}
		}
	}
	if _, err := readReport([]byte("fio: no such job")); err == nil {
		t.Error("garbage was read as a report")
	}
}
