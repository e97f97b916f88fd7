package model

import (
	"math/rand"
	"os"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// generator draws operations that make sense on what it believes to exist. What it draws depends on the seed and on
// the answers only.
type generator struct {
	cfg    Config
	rng    *rand.Rand
	names  *names
	root   string // of the side that is looked at to correct beliefs
	look   func(func())
	issued int
	open   [][op.Slots]os.FileMode // per worker: what is in the slot, closed if nothing is
	single int                     // the only worker, or -1
	table  []weighted
	total  int
}

// closed marks an empty slot.
const closed = os.ModeIrregular

// weighted is a way to draw an operation, and how often it is chosen.
type weighted struct {
	weight int
	draw   func(*op.Op)
}

func newGenerator(cfg Config, seed int64, look func(func()), root, top string) *generator {
	rng := rand.New(rand.NewSource(seed))
	g := &generator{cfg: cfg, rng: rng, names: &names{rng: rng, top: top}, root: root, look: look, single: -1}
	g.open = make([][op.Slots]os.FileMode, cfg.Workers)
	for w := range g.open {
		g.forgetOpen(w)
	}
	g.table = append(append(g.drawFiles(), g.drawNames()...), append(g.drawAttrs(), g.drawQueries()...)...)
	for _, t := range g.table {
		g.total += t.weight
	}
	return g
}

func (g *generator) forgetOpen(worker int) {
	for i := range g.open[worker] {
		g.open[worker][i] = closed
	}
}

// next draws an operation.
func (g *generator) next() op.Op {
	const refreshEvery = 1000
	if g.issued%refreshEvery == 0 {
		g.refresh()
	}
	g.issued++
	if g.single < 0 && g.cfg.RemountEvery > 0 && g.rng.Intn(g.cfg.RemountEvery) == 0 {
		return op.Op{Kind: op.Remount}
	}
	for {
		o := op.Op{Worker: g.rng.Intn(len(g.open)), Check: g.rng.Intn(2) == 0}
		if g.single >= 0 {
			o.Worker = g.single
		}
		if len(g.names.paths) > maxNames && g.rng.Intn(3) == 0 {
			g.drawRemoval(&o)
		} else {
			g.draw(&o)
		}
		if o.Kind != "" && g.cfg.Allow(o) {
			return o
		}
	}
}

// refresh corrects what is believed to exist.
func (g *generator) refresh() { g.look(func() { g.names.refresh(g.root) }) }

func (g *generator) draw(o *op.Op) {
	n := g.rng.Intn(g.total)
	for _, t := range g.table {
		if n -= t.weight; n < 0 {
			t.draw(o)
			return
		}
	}
}

// observe learns from the answer to an operation.
func (g *generator) observe(o op.Op, r op.Result) {
	if o.Kind == op.Remount {
		for w := range g.open {
			g.forgetOpen(w)
		}
		return
	}
	g.observeOpen(o, r)
	if r.Errno != 0 {
		return
	}
	switch o.Kind {
	case op.Mkdir:
		g.names.add(o.Path, os.ModeDir)
	case op.Symlink:
		g.names.add(o.Path, os.ModeSymlink)
	case op.Mknod:
		g.names.add(o.Path, os.ModeNamedPipe)
	case op.Flink:
		g.names.add(o.Path, 0)
	case op.Link:
		g.names.add(o.Path2, g.names.kind[o.Path])
	case op.Unlink, op.Rmdir:
		g.names.remove(o.Path)
	case op.Rename:
		if o.Flags == unix.RENAME_EXCHANGE {
			g.names.swap(o.Path, o.Path2)
		} else {
			g.names.move(o.Path, o.Path2)
		}
	}
}

// observeOpen keeps which slots hold what.
func (g *generator) observeOpen(o op.Op, r op.Result) {
	slot := &g.open[o.Worker][o.Slot]
	switch o.Kind {
	case op.Close:
		*slot = closed
	case op.CloseAll:
		g.forgetOpen(o.Worker)
	case op.Tmpfile:
		*slot = closed
		if r.Errno == 0 {
			*slot = 0
		}
	case op.Open:
		*slot = closed
		if r.Errno != 0 {
			return
		}
		kind, known := g.names.kind[o.Path]
		if !known && o.Flags&unix.O_CREAT != 0 {
			g.names.add(o.Path, 0)
		}
		if kind.IsRegular() || kind.IsDir() || kind == os.ModeSymlink {
			*slot = kind
		}
	}
}

// slot picks one of the worker's slots: one that holds a file, if there is one of the kind.
func (g *generator) slot(worker int, kind os.FileMode) int {
	for range 12 {
		if s := g.rng.Intn(op.Slots); g.open[worker][s] == kind {
			return s
		}
	}
	return g.rng.Intn(op.Slots)
}
