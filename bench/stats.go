package bench

import (
	"math"

	"golang.org/x/perf/benchmath"
)

// Estimate is a middle value and the interval that holds it with the confidence
// of the runner (95 %, less where there are too few rounds for it).
type Estimate struct{ Center, Lo, Hi float64 }

const confidence = 0.95

// estimate takes the median; nothing is assumed of how the values are spread.
func estimate(values []float64) Estimate {
	if len(values) == 0 {
		return Estimate{math.NaN(), math.NaN(), math.NaN()}
	}
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
	return Estimate{s.Center, finite(s.Lo, values), finite(s.Hi, values)}
}

// finite replaces the infinite bound of an interval of too few values by the furthest value.
func finite(bound float64, values []float64) float64 {
	if !math.IsInf(bound, 0) {
		return bound
	}
	furthest := values[0]
	for _, v := range values {
		if bound > 0 == (v > furthest) {
			furthest = v
		}
	}
	return furthest
}

// width is half the interval, as a part of the middle.
func (e Estimate) width() float64 { return (e.Hi - e.Lo) / 2 / e.Center }

// Time estimates the nanoseconds of an operation.
func (c *Cell) Time() Estimate { return estimate(c.NsPerOp) }

// Ratio is how many times faster than reference a peer does the line.
func (l *Line) Ratio(peer, reference string) (Estimate, bool) {
	ratios := l.ratios(peer, reference)
	return estimate(ratios), len(ratios) > 0
}

// ratios compares round by round: both met the same minute of the machine.
func (l *Line) ratios(peer, reference string) (ratios []float64) {
	a, b := l.Cells[peer], l.Cells[reference]
	if a == nil || b == nil || a.Error != "" || b.Error != "" {
		return nil
	}
	for i, round := range a.Rounds {
		for k, other := range b.Rounds {
			if round == other {
				ratios = append(ratios, b.NsPerOp[k]/a.NsPerOp[i])
			}
		}
	}
	return ratios
}

// unsure tells whether a ratio is known too badly to be read.
func (l *Line) unsure(reference string) bool {
	const readable = 0.10
	for name := range l.Cells {
		if name == reference {
			continue
		}
		if e, ok := l.Ratio(name, reference); ok && e.width() > readable {
			return true
		}
	}
	return false
}

// GeoMean is the geometric mean of a peer's ratios over all lines of a client and kind ("" for all kinds).
func (r *Result) GeoMean(peer, reference, client, kind string) (mean float64, lines int) {
	sum := 0.0
	for _, l := range r.Lines {
		if l.Client != client || kind != "" && l.Kind != kind {
			continue
		}
		if e, ok := l.Ratio(peer, reference); ok {
			sum += math.Log(e.Center)
			lines++
		}
	}
	return math.Exp(sum / float64(lines)), lines
}
