package bench

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
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
	Curves    []template.HTML
	Keys      []key // of the curves
	Requests  []pageRequests
}

type pageTable struct {
	Client  string
	Head    []string
	Rows    []pageRow
	Keys    []key // of the figures
	Figures []template.HTML
}

type pageRow struct {
	Name  string
	Mean  bool
	Cells []pageCell
}

type pageCell struct{ Text, Class string }

type pageRequests struct{ Line, Client, Peer, All, Kinds string }

// Report writes one HTML page, report.html, and the result itself, result.json,
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
	return errors.Join(t.Execute(f, p), f.Close(), r.Save(filepath.Join(dir, "result.json")))
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
		svg, err := r.plotCurve(c)
		if err != nil {
			return nil, err
		}
		p.Curves = append(p.Curves, svg)
		for _, k := range r.keys(c.peers()) {
			if !slices.Contains(p.Keys, k) {
				p.Keys = append(p.Keys, k)
			}
		}
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
	t.Keys = r.keys(t.Head[2:])
	for _, kind := range []string{KindMetadata, KindData, KindProgram} {
		svg, err := r.barPlot(client, kind, ref, t.Head[2:])
		if err != nil {
			return t, err
		}
		if svg != "" {
			t.Figures = append(t.Figures, svg)
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
