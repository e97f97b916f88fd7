package bench

import (
	"bytes"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// figure is one plot of the page, and a file beside it.
type figure struct {
	name string // of the file, without its ending
	SVG  template.HTML
}

// save writes the plot as a file of its own into dir.
func (f figure) save(dir string) error {
	return os.WriteFile(filepath.Join(dir, f.name+".svg"), []byte(f.SVG), 0o644)
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// figure draws a plot and, above it, which colour is whose: inside it the key would lie over something.
func (r *Result) figure(name string, p *plot.Plot, peers []string, width, height vg.Length) (figure, error) {
	const key = vg.Length(22)
	svg := vgsvg.New(width, height+key)
	all := draw.New(svg)
	p.Draw(draw.Crop(all, 0, 0, 0, -key))
	r.drawKey(draw.Crop(all, 0, 0, height, 0), p.Legend.TextStyle, peers)
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return figure{}, err
	}
	text := out.String()
	if i := strings.Index(text, "<svg"); i > 0 {
		text = text[i:] // an XML declaration has no place in a page
	}
	return figure{strings.Trim(notInNames.ReplaceAllString(strings.ToLower(name), "-"), "-"), template.HTML(text)}, nil
}

func (r *Result) drawKey(c draw.Canvas, style draw.TextStyle, peers []string) {
	const box, gap = vg.Length(9), vg.Length(5)
	at := vg.Point{X: c.Min.X + gap, Y: c.Min.Y + gap}
	for _, peer := range peers {
		c.FillPolygon(r.colour(peer), []vg.Point{at, {X: at.X + box, Y: at.Y}, {X: at.X + box, Y: at.Y + box}, {X: at.X, Y: at.Y + box}})
		at.X += box + gap
		c.FillText(style, at, peer)
		at.X += style.Width(peer)*5/4 + 2*gap // who shows it may have a wider font
	}
}
