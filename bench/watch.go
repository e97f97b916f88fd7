package bench

import (
	"errors"
	"fmt"
	"slices"
)

// watch is told of every phase of a turn: when it is prepared, what it came to, and of those that came to nothing.
type watch struct {
	begin func(*site) error
	end   func(phase, outcome) error
	fail  func(phase, error)
}

// timing notes in the result what a round took.
func (r *runner) timing(p peer, uid, round int) watch {
	cell := func(ph phase) *Cell { return r.result.line(ph.line, ph.kind, who(uid)).cell(p.name) }
	return watch{
		begin: func(*site) error { return nil },
		end:   func(ph phase, o outcome) error { cell(ph).note(round, o); return nil },
		fail: func(ph phase, err error) {
			if !ph.after {
				cell(ph).Error = err.Error()
			}
			r.failure(ph.line, p.name, who(uid), err)
		},
	}
}

// counting notes how many requests an operation sends: what one costs is timed without tracing.
func (r *runner) counting(p peer, uid int) watch {
	return watch{
		begin: func(s *site) error {
			dev, err := device(s.merged)
			return errors.Join(err, r.tracer.start(dev))
		},
		end: func(ph phase, o outcome) error {
			counts, lost, err := r.tracer.stop()
			if err != nil {
				return err
			}
			cell := r.result.line(ph.line, ph.kind, who(uid)).cell(p.name)
			cell.Lost = lost
			cell.Requests = make(map[string]float64)
			for kind, n := range counts {
				cell.Requests[kind] = float64(n) / float64(o.Ops)
			}
			return nil
		},
		fail: func(ph phase, err error) {
			r.failure(ph.line, p.name, who(uid), fmt.Errorf("count requests: %w", errors.Join(err, r.tracer.cancel())))
		},
	}
}

// pointing notes in a point of a curve what a round took.
func (r *runner) pointing(p peer, line string, round int, cell *Cell) watch {
	return watch{
		begin: func(*site) error { return nil },
		end:   func(_ phase, o outcome) error { cell.note(round, o); return nil },
		fail: func(_ phase, err error) {
			cell.Error = err.Error()
			r.failure(line, p.name, who(0), err)
		},
	}
}

// failure notes what a peer could not do: that costs it a line, and the run its good exit code, no more.
func (r *runner) failure(line, peer, client string, why error) {
	r.result.Failures = append(r.result.Failures, Absence{Line: line, Peer: peer, Client: client, Why: why.Error()})
	r.Log("%s on %s as %s: %v", line, peer, client, why)
}

// hasFailed tells whether a failure of the same line, peer and client is noted.
func (r *runner) hasFailed(a Absence) bool {
	return slices.ContainsFunc(r.result.Failures, func(f Absence) bool {
		return f.Line == a.Line && f.Peer == a.Peer && f.Client == a.Client
	})
}

// leave notes what is not measured, though nothing failed.
func (r *runner) leave(a Absence) {
	if !slices.Contains(r.result.LeftOut, a) {
		r.result.LeftOut = append(r.result.LeftOut, a)
		r.Log("left out: %s", a)
	}
}

// unmeasured names the lines that got no round, or not on each peer.
func (r *runner) unmeasured(chosen []scenario) {
	for _, s := range chosen {
		for i, ph := range s.phases {
			for _, uid := range r.clients() {
				r.unmeasuredLine(s, i, r.result.line(ph.line, ph.kind, who(uid)), uid)
			}
		}
	}
	r.result.Lines = slices.DeleteFunc(r.result.Lines, func(l *Line) bool { return len(l.Cells) == 0 })
}

func (r *runner) unmeasuredLine(s scenario, i int, l *Line, uid int) {
	var without []Absence
	for _, p := range r.peers {
		if r.measures(s, p, i) && (!p.user || uid == plainUser) && l.Cells[p.name].empty() {
			without = append(without, Absence{Line: l.Name, Peer: p.name, Client: l.Client, Why: r.absent})
		}
	}
	if len(without) > 0 && len(l.Cells) == 0 {
		without = []Absence{{Line: l.Name, Client: l.Client, Why: r.absent}}
	}
	for _, a := range without {
		r.leave(a)
	}
}
