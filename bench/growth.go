package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// curve is how one thing grows: a scenario for each place of the x axis.
type curve struct {
	name, over string
	points     []curvePoint
}

type curvePoint struct {
	x     float64
	s     scenario
	quick bool // part of a quick run
}

// growthScenarios is every scenario of every curve.
func growthScenarios() (all []scenario) {
	for _, c := range curves() {
		for _, p := range c.points {
			all = append(all, p.s)
		}
	}
	return all
}

// curves are what a union must bear to grow with.
func curves() []curve {
	var layers, unmerged, names, sizes, clients curve
	layers = curve{name: "second walk", over: "layers"}
	unmerged = curve{name: "first walk of an unmerged tree", over: "layers"}
	for _, n := range []int{1, 10, 100, 500} {
		t := tree{fmt.Sprintf("stacked%d", n), n, fillStacked}
		layers.points = append(layers.points, curvePoint{x: float64(n), quick: n <= 100, s: scenario{name: t.name + " second", tree: t,
			phases: []phase{{line: "first walk", kind: KindMetadata, run: walk, after: true}, {line: layers.name, kind: KindMetadata, run: walk}}}})
		unmerged.points = append(unmerged.points, curvePoint{x: float64(n), quick: n <= 100, s: scenario{name: t.name + " first", tree: t,
			phases: []phase{{line: unmerged.name, kind: KindMetadata, cold: true, run: walk}}}})
	}
	names = curve{name: "list a merged directory again", over: "names"}
	for _, n := range []int{1000, 100_000, 1_000_000} {
		t := tree{fmt.Sprintf("names%d", n), 2, fillNames(n)}
		names.points = append(names.points, curvePoint{x: float64(n), quick: n < 100_000, s: scenario{name: t.name, tree: t,
			phases: []phase{{line: "first listing", run: listWide(1), after: true}, {line: names.name, kind: KindMetadata, run: listWide(1)}}}})
	}
	sizes = curve{name: "read a file again", over: "bytes"}
	for _, n := range []int64{4 << 10, 1 << 20, 64 << 20, 8 << 30} {
		t := tree{fmt.Sprintf("file%d", n), 1, fillFile(n)}
		sizes.points = append(sizes.points, curvePoint{x: float64(n), quick: n <= 64<<20, s: scenario{name: t.name, tree: t,
			phases: []phase{{line: "first read", run: readFile(n), after: true}, {line: sizes.name, kind: KindData, run: readFile(n)}}}})
	}
	clients = curve{name: "stat by several clients", over: "clients"}
	for _, n := range []int{1, 2, 4, 16} {
		clients.points = append(clients.points, curvePoint{x: float64(n), quick: n <= 4, s: scenario{name: fmt.Sprintf("clients%d", n), tree: sourceTree,
			phases: []phase{{line: clients.name, kind: KindMetadata, before: find, run: statAtOnce(n)}}}})
	}
	return []curve{layers, unmerged, names, sizes, clients}
}

// growth measures the curves and what daemons hold in memory.
func (r *runner) growth(ctx context.Context) error {
	for _, c := range curves() {
		if r.Only != nil && !r.Only.MatchString(c.name) {
			continue
		}
		out := &Curve{Name: c.name, Over: c.over}
		for _, at := range c.points {
			if r.Quick && !at.quick {
				continue
			}
			point := Point{X: at.x, Cells: map[string]*Cell{}}
			for round := range r.Rounds {
				if err := r.pointRound(ctx, at, round, point.Cells); err != nil {
					return err
				}
			}
			out.Points = append(out.Points, point)
		}
		r.result.Curves = append(r.result.Curves, out)
	}
	return r.memory(ctx)
}

func (r *runner) pointRound(ctx context.Context, at curvePoint, round int, cells map[string]*Cell) error {
	for _, p := range order(r.peers, round) {
		if p.user || p.volume {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Log("round %d, %s on %s", round+1, at.s.name, p.name)
		if cells[p.name] == nil {
			cells[p.name] = &Cell{}
		}
		cell := cells[p.name]
		err := r.turn(at.s, p, 0, watch{
			begin: func(*site) error { return nil },
			end: func(_ phase, o outcome, err error) error {
				if err == nil {
					cell.note(round, o)
				}
				return err
			},
		})
		if err != nil {
			cell.Error = err.Error() // a peer may have a limit of its own, such as 500 layers
			r.Log("%s on %s: %v", at.s.name, p.name, err)
		}
	}
	return nil
}

// fillStacked gives each layer a directory of its own and all of them one in common.
func fillStacked(dir string, layer int, _ float64) error {
	own, common := filepath.Join(dir, fmt.Sprintf("own%03d", layer)), filepath.Join(dir, "common")
	err := errors.Join(os.Mkdir(own, 0o755), os.Mkdir(common, 0o755), os.WriteFile(fmt.Sprintf("%s/file%03d", common, layer), nil, 0o644))
	for i := 0; i < 20 && err == nil; i++ {
		err = os.WriteFile(fmt.Sprintf("%s/file%02d", own, i), []byte("x"), 0o644)
	}
	if layer > 0 {
		return err
	}
	for i := 0; i < 1000 && err == nil; i++ {
		p := fmt.Sprintf("%s/deep/dir%02d", dir, i/20)
		err = errors.Join(os.MkdirAll(p, 0o755), os.WriteFile(fmt.Sprintf("%s/file%02d", p, i%20), []byte("x"), 0o644))
	}
	return err
}

// fillNames spreads n names over two layers.
func fillNames(n int) func(string, int, float64) error {
	return func(dir string, layer int, _ float64) error {
		p := filepath.Join(dir, "wide")
		err := os.Mkdir(p, 0o755)
		for i := layer; i < n && err == nil; i += 2 {
			err = os.WriteFile(filepath.Join(p, "name"+strconv.Itoa(i)), nil, 0o644)
		}
		return err
	}
}

func fillFile(n int64) func(string, int, float64) error {
	return func(dir string, _ int, _ float64) error {
		f, err := os.Create(filepath.Join(dir, dataFile))
		if err != nil {
			return err
		}
		chunk := []byte(strings.Repeat("unionmount bench", 64<<10))
		for left := n; left > 0 && err == nil; left -= int64(len(chunk)) {
			_, err = f.Write(chunk[:min(left, int64(len(chunk)))])
		}
		return errors.Join(err, f.Close())
	}
}

// readFile reads a file of n bytes whole; an operation is 4 KiB.
func readFile(n int64) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		done, err := c.readWhole(min(n, 1<<20))
		if err == nil && done != n {
			err = fmt.Errorf("read %d bytes of %d", done, n)
		}
		return max(1, n>>12), err
	}
}

// readOnce fills the cache of the peer.
func readOnce(c *client) (int64, error) {
	_, err := c.readWhole(1 << 20)
	return 1, err
}

// readWhole reads the large file by pieces of a size.
func (c *client) readWhole(piece int64) (done int64, err error) {
	f, err := os.Open(filepath.Join(c.Dir, dataFile))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, piece)
	for {
		got, err := f.Read(buf)
		done += int64(got)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

// statAtOnce has n threads stat files that are known.
func statAtOnce(n int) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		var all sync.WaitGroup
		ops := make([]int64, n)
		errs := make([]error, n)
		for i := range n {
			all.Go(func() { ops[i], errs[i] = openClose(c) })
		}
		all.Wait()
		var sum int64
		for _, o := range ops {
			sum += o
		}
		return sum, errors.Join(errs...)
	}
}

// forgotten is how long a daemon has to give memory back.
const forgotten = time.Minute

// memory walks the source tree and looks at the daemons' resident memory before, after, and once the kernel forgot.
func (r *runner) memory(ctx context.Context) error {
	s, _ := scenarioNamed("walk")
	for _, p := range r.peers {
		if !p.ours || p.volume || p.user {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Log("memory of %s", p.name)
		if err := r.memoryOf(s, p); err != nil {
			return fmt.Errorf("memory of %s: %w", p.name, err)
		}
	}
	return nil
}

func (r *runner) memoryOf(s scenario, p peer) (err error) {
	site, err := r.site(s, p, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.remove()) }()
	if err := r.mount(p, site); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.unmount(site)) }()
	m := Memory{Peer: p.name}
	look := func(into *int64) {
		if err == nil {
			*into, err = site.resident()
		}
	}
	look(&m.Idle)
	c := client{Dir: site.view}
	if err == nil {
		m.Files, err = walk(&c)
	}
	look(&m.Known)
	if err == nil {
		err = dropCaches()
	}
	wait := forgotten
	if r.Quick {
		wait /= 6
	}
	time.Sleep(wait)
	look(&m.Forgiven)
	r.result.Memory = append(r.result.Memory, m)
	return err
}

// resident is the memory of the site's daemon.
func (s *site) resident() (int64, error) {
	pid, err := s.output("inspect", "--format", "{{.Pid}}", "bench")
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, err
	}
	var total, pages int64
	_, err = fmt.Sscan(string(text), &total, &pages)
	return pages * int64(os.Getpagesize()), err
}
