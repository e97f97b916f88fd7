package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// Move is a line of a peer that became faster or slower between two results.
type Move struct {
	Line, Client, Peer string
	Old, New           float64 // speed against the reference of its own run
	Change             float64 // New/Old - 1: above zero is faster
	P                  float64 // chance of such a difference by noise alone (Mann-Whitney)
}

// significance is how small that chance must be; smallest is a change worth naming.
const (
	significance = 0.05
	smallest     = 0.02
)

// Compared is what two results say of each other.
type Compared struct {
	Moved []Move
	All   int // comparisons
	Weak  int // of them too short of rounds to show anything, whatever moved
}

// Compare finds what moved beyond noise. Lines are compared by their ratios to
// the reference of the newer run, each in its own rounds, so that two machines, or two days, may differ.
func Compare(older, newer *Result) (c Compared) {
	ref := newer.reference()
	for _, l := range newer.Lines {
		for _, was := range older.Lines {
			if was.Name != l.Name || was.Client != l.Client {
				continue
			}
			for _, p := range newer.Peers {
				if p.Name != ref {
					c.add(was, l, p.Name, ref)
				}
			}
		}
	}
	return c
}

func (c *Compared) add(was, is *Line, peer, ref string) {
	m, ok := compareCell(was, is, peer, ref)
	if !ok {
		return
	}
	c.All++
	if leastP(len(was.ratios(peer, ref)), len(is.ratios(peer, ref))) >= significance {
		c.Weak++
	}
	if m.P < significance && math.Abs(m.Change) >= smallest {
		c.Moved = append(c.Moved, m)
	}
}

// leastP is the smallest P that so many rounds can give: all of the one side faster than all of the other. 4 and 4 are enough.
func leastP(a, b int) float64 {
	orders := 1.0 // a+b over a
	for i := 1; i <= a; i++ {
		orders *= float64(b+i) / float64(i)
	}
	return 2 / orders
}

func compareCell(was, is *Line, peer, ref string) (Move, bool) {
	a, b := was.ratios(peer, ref), is.ratios(peer, ref)
	if len(a) == 0 || len(b) == 0 {
		return Move{}, false
	}
	m := Move{Line: is.Name, Client: is.Client, Peer: peer, Old: estimate(a).Center, New: estimate(b).Center}
	m.Change = m.New/m.Old - 1
	m.P = benchmath.AssumeNothing.Compare(benchmath.NewSample(a, &benchmath.DefaultThresholds),
		benchmath.NewSample(b, &benchmath.DefaultThresholds)).P
	return m, true
}

// Print prints what Compare found.
func (c Compared) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(c.Moved) > 0 {
		fmt.Fprintln(t, "LINE\tAS\tPEER\tOLD\tNEW\tCHANGE\tP")
	}
	for _, m := range c.Moved {
		fmt.Fprintf(t, "%s\t%s\t%s\tx%.2f\tx%.2f\t%+.0f%%\t%.3f\n", m.Line, m.Client, m.Peer, m.Old, m.New, 100*m.Change, m.P)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(c.Moved) == 0 {
		fmt.Fprintf(w, "nothing moved beyond noise in %d comparisons\n", c.All)
	} else {
		fmt.Fprintf(w, "%d of %d comparisons moved beyond noise; noise alone moves up to one in %.0f\n", len(c.Moved), c.All, 1/significance)
	}
	if c.Weak > 0 {
		fmt.Fprintf(w, "%d rest on too few rounds to show anything: measure both with --rounds 6\n", c.Weak)
	}
	return nil
}
