package bench

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Estimate is a middle value and an interval around it; Confidence is how often such an interval holds the
// true median: 0 of one value, which has none.
type Estimate struct{ Center, Lo, Hi, Confidence float64 }

// confidence is what an interval is to have where there are rounds enough: six.
const confidence = 0.95

// estimate takes the median, and the interval between two of the ordered values (the sign test's): nothing is assumed
// of how the values are spread. Of n values too few for the confidence it is their whole range, which holds the median
// unless all lie on one side of it: in 1 - 2/2^n of all cases, 75 % of three.
func estimate(values []float64) Estimate {
	if len(values) == 0 {
		return Estimate{math.NaN(), math.NaN(), math.NaN(), 0}
	}
	values = slices.Clone(values) // NewSample sorts them, and a value's place says which round it is of
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
	if !math.IsInf(s.Lo, 0) && !math.IsInf(s.Hi, 0) {
		return Estimate{s.Center, s.Lo, s.Hi, s.Confidence}
	}
	return Estimate{s.Center, slices.Min(values), slices.Max(values), 1 - math.Exp2(1-float64(len(values)))}
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

// rounds is how many the ratios of a line rest on: the fewest and the most of its peers.
func (l *Line) rounds(reference string) (fewest, most int) {
	for name := range l.Cells {
		if n := len(l.ratios(name, reference)); n > 0 && name != reference {
			most = max(most, n)
			if fewest == 0 || n < fewest {
				fewest = n
			}
		}
	}
	return fewest, most
}

// readable is half of an interval, as a part of its middle, beyond which a ratio is known too badly.
const readable = 0.10

// unsure tells whether a ratio is known too badly to be read.
func (l *Line) unsure(reference string) bool {
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
