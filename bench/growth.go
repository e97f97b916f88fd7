package bench

import (
	"cmp"
	"context"
	"slices"
)

// curve is how one thing grows: a scenario for each place of the x axis. The work is the same at each.
type curve struct {
	name, over string
	changes    bool // what it does to the tree must not be seen by the next round
	points     []curvePoint
}

type curvePoint struct {
	x     float64
	s     scenario
	quick bool // part of a quick run
}

// add adds a place of the x axis: a fresh mount of the tree, on which the phases run. The last is what is measured.
func (c *curve) add(x float64, quick bool, t tree, phases ...phase) {
	phases[len(phases)-1].line = c.name
	c.points = append(c.points, curvePoint{x, scenario{name: c.name + " of " + t.name, tree: t, changes: c.changes, phases: phases, point: true}, quick})
}

// uses tells whether the curve is measured on the tree of that name.
func (c *curve) uses(name string) bool {
	return slices.ContainsFunc(c.points, func(at curvePoint) bool { return cmp.Or(at.s.tree.like, at.s.tree.name) == name })
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

func (r *runner) wantedCurve(name string) bool { return r.Only == nil || r.Only.MatchString(name) }

// anyGrowth tells whether there is something to measure of how it grows.
func (r *runner) anyGrowth() bool {
	return r.wantedCurve(memoryLine) || slices.ContainsFunc(curves(), func(c curve) bool { return r.wantedCurve(c.name) })
}

// growth measures the curves and what daemons hold in memory.
func (r *runner) growth(ctx context.Context) error {
	all := curves()
	for i, c := range all {
		if !r.wantedCurve(c.name) {
			continue
		}
		out := &Curve{Name: c.name, Over: c.over}
		r.result.Curves = append(r.result.Curves, out)
		for _, at := range c.points {
			if r.Quick && !at.quick {
				continue
			}
			out.Points = append(out.Points, Point{X: at.x, Cells: map[string]*Cell{}})
			if err := r.point(ctx, c, at, out.Points[len(out.Points)-1].Cells); err != nil {
				return err
			}
		}
		err := r.forget(func(name string) bool {
			return c.uses(name) && !slices.ContainsFunc(all[i+1:], func(c curve) bool { return c.uses(name) })
		})
		if err != nil {
			return err
		}
	}
	if !r.wantedCurve(memoryLine) {
		return nil
	}
	return r.memory(ctx)
}

// point measures one place of a curve.
func (r *runner) point(ctx context.Context, c curve, at curvePoint, cells map[string]*Cell) error {
	for round := range r.Rounds {
		if !r.clock.fits(at.s.name, 1) {
			return nil
		}
		done := r.clock.measure(at.s.name)
		for _, p := range inTurn(r.peers, round) {
			if p.user || p.volume {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			r.Log("round %d, %s on %s", round+1, at.s.name, p.name)
			if cells[p.name] == nil {
				cells[p.name] = new(Cell)
			}
			if err := r.turn(ctx, at.s, p, 0, r.pointing(p, at.s.name, round, cells[p.name])); err != nil {
				return err
			}
		}
		done()
	}
	return nil
}

// unmeasuredGrowth names what there was no time for.
func (r *runner) unmeasuredGrowth() {
	for _, c := range curves() {
		for _, at := range c.points {
			if r.wantedCurve(c.name) && (at.quick || !r.Quick) && !r.measured(c, at) {
				r.leave(Absence{Line: at.s.name, Why: r.absent})
			}
		}
	}
	for _, p := range r.peers {
		about := Absence{Line: memoryLine, Peer: p.name, Client: who(0)}
		if r.wantedCurve(memoryLine) && p.hasMemory() && !r.hasFailed(about) &&
			!slices.ContainsFunc(r.result.Memory, func(m Memory) bool { return m.Peer == p.name }) {
			about.Why = r.absent
			r.leave(about)
		}
	}
}

func (r *runner) measured(c curve, at curvePoint) bool {
	for _, out := range r.result.Curves {
		for _, p := range out.Points {
			for _, cell := range p.Cells {
				if out.Name == c.name && out.Over == c.over && p.X == at.x && !cell.empty() {
					return true
				}
			}
		}
	}
	return false
}
