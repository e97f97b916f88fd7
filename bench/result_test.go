package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sample is a result with everything in it.
func sample() *Result {
	r := &Result{Version: resultVersion, Started: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Binary: "unionmount <1>",
		Machine: Machine{CPU: "a CPU", CPUs: 2, Kernel: "6.18", FileSystem: "ext4"},
		Peers:   []Peer{{Name: Overlay}, {Name: "cached"}, {Name: "unionfs-fuse", Missing: "unionfs is not installed"}},
		Lines: []*Line{
			lineOf("stat", map[string][]float64{Overlay: {1000, 1100, 1050}, "cached": {900, 1000, 950}}),
			lineOf("create", map[string][]float64{Overlay: {50000, 51000, 52000}, "cached": {100000, 200000, 90000}}),
		},
		Curves: []*Curve{{Name: "second walk", Over: "layers", Points: []Point{
			{1, lineOf("", map[string][]float64{Overlay: {10}, "cached": {12}}).Cells},
			{100, lineOf("", map[string][]float64{Overlay: {20}, "cached": {13}}).Cells},
		}}},
		Memory: []Memory{{Peer: "cached", BaseFiles: 100, Files: 1100, Idle: 9 << 20, Base: 10 << 20, Known: 11 << 20, Forgiven: 10 << 20}},
	}
	r.Lines[1].Cells["cached"].Requests = map[string]float64{"LOOKUP": 1, "MKNOD": 1, "WRITE": 0.5}
	return r
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := sample().Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"left out: unionfs-fuse: unionfs is not installed", "1.1 us ±5%", "1.11±", "~0.50±", "3: 75", "geometric mean, all",
		"second walk, time of an operation over layers", "1049 bytes a file", "2.50  LOOKUP 1.00, MKNOD 1.00, WRITE 0.50"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, out.String())
		}
	}
}

// TestReport: the page stands alone, shows every line and draws every plot.
func TestReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "report")
	r := sample()
	r.Failures = []Absence{{Line: "untar", Peer: "cached", Client: "user", Why: "disk <full>"}}
	r.LeftOut = []Absence{{Line: "go build", Why: "go is not installed"}}
	r.Curves = append(r.Curves, &Curve{Name: "all failed", Points: []Point{{1000, map[string]*Cell{"cached": {Error: "no space"}}}}},
		&Curve{Name: "one point", Points: r.Curves[0].Points[:1]})
	r.summarise()
	if err := r.Report(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{"unionmount &lt;1&gt;", "<td>create</td>", "<b>unionfs-fuse</b>", "LOOKUP 1.00", "all failed: nothing was measured",
		"untar on cached as user: disk &lt;full&gt;", "go build: go is not installed"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if n := strings.Count(page, "<svg"); n != 3 {
		t.Errorf("%d plots, want the bars and two curves", n)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(files) != 3 {
		t.Errorf("%d plots in files of their own, %v", len(files), err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || !bytes.HasPrefix(text, []byte("<svg")) || !bytes.Contains(text, []byte(">cached<")) {
			t.Errorf("%s doesn't say which colour is whose, %v", f, err)
		}
	}
	if strings.Contains(page, "src=") || strings.Contains(page, "href=\"http") {
		t.Error("the page needs something from elsewhere")
	}
	again, err := Load(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if again.Lines[0].Ratios["cached"].Confidence != 0.75 {
		t.Errorf("the saved result has the ratios %v", again.Lines[0].Ratios)
	}
	if c := Compare(r, again); c.All != 2 || c.Weak != 2 || len(c.Moved) != 0 {
		t.Errorf("a saved result differs from itself, or three rounds were said to be enough: %+v", c)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"cut": `{"Version":1`, "other": `{"Version":99}`} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestScenarios: names are unique, since a client finds its scenario by name and a result its line.
func TestScenarios(t *testing.T) {
	names, lines := map[string]bool{}, map[string]bool{}
	for _, s := range append(scenarios(), growthScenarios()...) {
		if names[s.name] {
			t.Errorf("two scenarios %q", s.name)
		}
		names[s.name] = true
	}
	for _, s := range scenarios() {
		for _, p := range s.phases {
			if lines[p.line] {
				t.Errorf("two lines %q", p.line)
			}
			lines[p.line] = true
			if (p.run == nil) == (p.fio == "") {
				t.Errorf("%s: one of run and fio", p.line)
			}
		}
	}
}
