package bench

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
)

//go:embed report.html
var reportHTML string

// page is what report.html shows.
type page struct {
	Result    *Result
	Reference string
	Legend    string
	Tables    []pageTable
	Curves    []figure
	Nothing   []string // curves of which nothing was measured
	Requests  []pageRequests
}

type pageTable struct {
	Client  string
	Head    []string
	Rows    []pageRow
	Figures []figure
}

type pageRow struct {
	Name  string
	Mean  bool
	Cells []pageCell
}

type pageCell struct{ Text, Class string }

type pageRequests struct{ Line, Client, Peer, All, Kinds string }

// Report writes one HTML page, report.html, each of its plots as an SVG file, and the result itself, result.json,
// into dir, which is made. The page needs no other file.
func (r *Result) Report(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"mib":     func(n int64) string { return fmt.Sprintf("%.1f MiB", mib(n)) },
		"perFile": func(m Memory) string { return fmt.Sprintf("%.0f", m.PerFile()) },
	}).Parse(reportHTML)
	if err != nil {
		return err
	}
	p, err := r.page()
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "report.html"))
	if err != nil {
		return err
	}
	if err := errors.Join(t.Execute(f, p), f.Close(), r.Save(filepath.Join(dir, "result.json"))); err != nil {
		return err
	}
	for _, f := range p.figures() {
		if err := f.save(dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *page) figures() (all []figure) {
	for _, t := range p.Tables {
		all = append(all, t.Figures...)
	}
	return append(all, p.Curves...)
}

func (r *Result) page() (*page, error) {
	p := &page{Result: r, Reference: r.reference(), Legend: legend}
	for _, client := range []string{"root", "user"} {
		if names := r.present(client); len(names) > 0 {
			t, err := r.pageTable(client, p.Reference, names)
			if err != nil {
				return nil, err
			}
			p.Tables = append(p.Tables, t)
		}
	}
	for _, c := range r.Curves {
		f, err := r.plotCurve(c)
		if err != nil {
			return nil, err
		}
		if f.SVG == "" {
			p.Nothing = append(p.Nothing, c.Name)
			continue
		}
		p.Curves = append(p.Curves, f)
	}
	for _, l := range r.Lines {
		for _, peer := range r.Peers {
			if c := l.Cells[peer.Name]; c != nil && c.Requests != nil {
				all, kinds, _ := strings.Cut(c.requestsWords(), "\t")
				p.Requests = append(p.Requests, pageRequests{l.Name, l.Client, peer.Name, all, kinds})
			}
		}
	}
	return p, nil
}

func (r *Result) pageTable(client, ref string, names []string) (t pageTable, err error) {
	t.Client, t.Head = client, []string{"rounds", ref}
	for _, n := range names {
		if n != ref {
			t.Head = append(t.Head, n)
		}
	}
	for _, l := range r.Lines {
		if l.Client != client {
			continue
		}
		row := pageRow{Name: l.Name, Cells: []pageCell{{Text: l.roundsWord(ref)}, {Text: l.timeWord(ref)}}}
		for _, n := range t.Head[2:] {
			row.Cells = append(row.Cells, l.pageCell(n, ref))
		}
		t.Rows = append(t.Rows, row)
	}
	row := pageRow{Name: "geometric mean", Mean: true, Cells: []pageCell{{}, {}}}
	for _, n := range t.Head[2:] {
		text := "-"
		if mean, lines := r.GeoMean(n, ref, client, ""); lines > 0 {
			text = fmt.Sprintf("%.2f (%d)", mean, lines)
		}
		row.Cells = append(row.Cells, pageCell{Text: text})
	}
	t.Rows = append(t.Rows, row)
	for _, kind := range []string{KindMetadata, KindData, KindProgram} {
		f, err := r.barPlot(client, kind, ref, t.Head[2:])
		if err != nil {
			return t, err
		}
		if f.SVG != "" {
			t.Figures = append(t.Figures, f)
		}
	}
	return t, nil
}

func (l *Line) pageCell(peer, ref string) pageCell {
	c := pageCell{Text: l.ratioWord(peer, ref)}
	e, ok := l.Ratio(peer, ref)
	switch {
	case !ok:
	case e.width() > readable:
		c.Class = "noisy"
	case e.Lo >= 0.95:
		c.Class = "good"
	case e.Hi < 0.5:
		c.Class = "bad"
	}
	return c
}
