package bench

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// inline renders a plot as SVG inside a page.
func inline(p *plot.Plot, width, height vg.Length) (template.HTML, error) {
	w, err := p.WriterTo(width, height, "svg")
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if _, err := w.WriteTo(&out); err != nil {
		return "", err
	}
	text := out.Bytes()
	if i := bytes.Index(text, []byte("<svg")); i > 0 {
		text = text[i:] // an XML declaration has no place in a page
	}
	return template.HTML(text), nil
}

// barPlot draws the ratios of one kind of lines, one group of bars a line, on a scale of powers of two.
func (r *Result) barPlot(client, kind, ref string, peers []string) (template.HTML, error) {
	var lines []*Line
	for _, l := range r.Lines {
		if l.Client == client && l.Kind == kind {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 || len(peers) == 0 {
		return "", nil
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
			return "", err
		}
		bars.Horizontal = true
		bars.LineStyle.Width = 0
		bars.Color = plotutil.Color(k)
		bars.Offset = thick * vg.Length(float64(len(peers)-1)/2-float64(k))
		p.Add(bars)
	}
	p.NominalY(labels...)
	height := thick*vg.Length((len(peers)+2)*len(lines)) + 90
	return inline(p, 900, height)
}

// key is the colour of a peer in the bar plots; the page draws it beside them, where it hides no bar.
type key struct{ Name, Colour string }

func keys(peers []string) (all []key) {
	for k, peer := range peers {
		r, g, b, _ := plotutil.Color(k).RGBA()
		all = append(all, key{peer, fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)})
	}
	return all
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

// plot draws a curve, both axes logarithmic.
func (c *Curve) plot() (template.HTML, error) {
	p := plot.New()
	p.Title.Text = c.Name
	p.X.Label.Text, p.Y.Label.Text = c.Over, "ns an operation"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
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
			return "", err
		}
		line.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(line, dots)
		drawn = true
		p.Legend.Add(peer, line, dots)
	}
	if !drawn {
		return template.HTML("<p>" + template.HTMLEscapeString(c.Name) + ": nothing was measured.</p>"), nil // no axis has a range
	}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		if axis.Min == axis.Max { // or it would begin one below, which may be where no logarithm is
			axis.Min, axis.Max = axis.Min/2, axis.Max*2
		}
	}
	p.Legend.Top = true
	return inline(p, 620, 380)
}
