package bench

import (
	"image/color"
	"math"
	"strconv"

	"github.com/docker/go-units"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// barPlot draws the ratios of one kind of lines, one group of bars a line, on a scale of powers of two.
// No plot: there is nothing to draw.
func (r *Result) barPlot(client, kind, ref string, peers []string) (f figure, err error) {
	var lines []*Line
	for _, l := range r.Lines {
		if l.Client == client && l.Kind == kind {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 || len(peers) == 0 {
		return f, nil
	}
	p := plot.New()
	p.Title.Text = kind + ": speed against " + ref
	p.X.Label.Text = "times as fast (each step doubles)"
	p.X.Tick.Marker = powersOfTwo{}
	p.Add(plotter.NewGrid())
	const thick = vg.Length(5)
	labels := make([]string, len(lines))
	for i, l := range lines {
		labels[len(lines)-1-i] = l.Name // the first line on top
	}
	for k, peer := range peers {
		values := make(plotter.Values, len(lines))
		for i, l := range lines {
			if e, ok := l.Ratio(peer, ref); ok {
				values[len(lines)-1-i] = math.Log2(e.Center)
			}
		}
		bars, err := plotter.NewBarChart(values, thick)
		if err != nil {
			return f, err
		}
		bars.Horizontal = true
		bars.LineStyle.Width = 0
		bars.Color = r.colour(peer)
		bars.Offset = thick * vg.Length(float64(len(peers)-1)/2-float64(k))
		p.Add(bars)
	}
	p.NominalY(labels...)
	p.X.Min, p.X.Max = math.Floor(p.X.Min), math.Ceil(p.X.Max) // or a bar would lie over its label
	height := thick*vg.Length((len(peers)+2)*len(lines)) + 90
	return r.figure(client+" "+kind, p, peers, 900, height)
}

// colour is a peer's in all plots of a page.
func (r *Result) colour(peer string) color.Color {
	ref, k := r.reference(), 0
	for _, p := range r.Peers {
		switch p.Name {
		case ref:
			if peer == ref {
				return color.Gray{0x55}
			}
		case peer:
			return plotutil.Color(k)
		default:
			k++
		}
	}
	return color.Black
}

// powersOfTwo labels an axis of logarithms to the base of two with what they stand for.
type powersOfTwo struct{}

func (powersOfTwo) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for v := math.Floor(lo); v <= math.Ceil(hi); v++ {
		ticks = append(ticks, plot.Tick{Value: v, Label: trim(math.Exp2(v))})
	}
	return ticks
}

func trim(v float64) string {
	if v >= 1 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return "1/" + strconv.FormatFloat(1/v, 'f', -1, 64)
}

// durations labels a logarithmic axis of ns.
type durations struct{}

func (durations) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for decade := math.Pow(10, math.Floor(math.Log10(lo))); decade <= hi; decade *= 10 {
		for _, n := range []float64{1, 2, 5} {
			ticks = append(ticks, plot.Tick{Value: n * decade, Label: duration(n * decade)})
		}
	}
	return ticks
}

// places labels the axis of what a curve is over: where it was measured.
func (c *Curve) places() (at plot.ConstantTicks) {
	for _, p := range c.Points {
		label := trim(p.X)
		if c.Over == "bytes" {
			label = units.BytesSize(p.X)
		}
		at = append(at, plot.Tick{Value: p.X, Label: label})
	}
	return at
}

// plotCurve draws a curve, both axes logarithmic. No plot: nothing was measured.
func (r *Result) plotCurve(c *Curve) (f figure, err error) {
	p := plot.New()
	p.Title.Text = c.Name
	p.X.Label.Text, p.Y.Label.Text = c.Over, "time of an operation"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = c.places(), durations{}
	p.Add(plotter.NewGrid())
	drawn := false
	for i, peer := range c.peers() {
		var at plotter.XYs
		for _, point := range c.Points {
			if cell := point.Cells[peer]; cell != nil && cell.Error == "" && len(cell.NsPerOp) > 0 {
				at = append(at, plotter.XY{X: point.X, Y: cell.Time().Center})
			}
		}
		if len(at) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(at)
		if err != nil {
			return f, err
		}
		line.Color, dots.Color, dots.Shape = r.colour(peer), r.colour(peer), plotutil.Shape(i)
		p.Add(line, dots)
		drawn = true
	}
	if !drawn { // no axis has a range
		return f, nil
	}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} { // room for labels; and one point alone has a range too
		axis.Min, axis.Max = axis.Min/1.5, axis.Max*1.5
	}
	return r.figure(c.Name+" over "+c.Over, p, c.peers(), 620, 380)
}
