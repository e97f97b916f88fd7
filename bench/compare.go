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

// Compare finds what moved beyond noise. Lines are compared by their ratios to
// the reference of the same run, so that two machines, or two days, may differ.
func Compare(older, newer *Result) (moved []Move, compared int) {
	ref := newer.reference()
	for _, l := range newer.Lines {
		for _, was := range older.Lines {
			if was.Name != l.Name || was.Client != l.Client {
				continue
			}
			for _, p := range newer.Peers {
				if p.Name == ref {
					continue
				}
				if m, ok := compareCell(was, l, p.Name, ref); ok {
					compared++
					if m.P < significance && math.Abs(m.Change) >= smallest {
						moved = append(moved, m)
					}
				}
			}
		}
	}
	return moved, compared
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

// PrintMoves prints what Compare found.
func PrintMoves(w io.Writer, moved []Move, compared int) error {
	if len(moved) == 0 {
		fmt.Fprintf(w, "nothing moved beyond noise in %d comparisons\n", compared)
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LINE\tAS\tPEER\tOLD\tNEW\tCHANGE\tP")
	for _, m := range moved {
		fmt.Fprintf(t, "%s\t%s\t%s\tx%.2f\tx%.2f\t%+.0f%%\t%.3f\n", m.Line, m.Client, m.Peer, m.Old, m.New, 100*m.Change, m.P)
	}
	fmt.Fprintf(t, "%d of %d comparisons moved beyond noise\n", len(moved), compared)
	return t.Flush()
}
