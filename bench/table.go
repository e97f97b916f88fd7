package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table prints the result for people: times of the peer compared with, and how many
// times faster than it each other is. What is within noise has a ~.
func (r *Result) Table(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "%s\n%s, %d CPUs, Linux %s, %s, FUSE over io_uring %s; %s\n", r.Binary, m.CPU, m.CPUs, m.Kernel, m.FileSystem,
		onOff(m.Uring), r.Started.Format("2006-01-02 15:04"))
	for _, p := range r.Peers {
		if p.Missing != "" {
			fmt.Fprintf(w, "left out: %s: %s\n", p.Name, p.Missing)
		}
		if p.Transport != "" {
			fmt.Fprintf(w, "%s: requests by %s\n", p.Name, p.Transport)
		}
	}
	for _, a := range r.LeftOut {
		fmt.Fprintf(w, "left out: %s\n", a)
	}
	for _, client := range []string{"root", "user"} {
		if err := r.table(w, client); err != nil {
			return err
		}
	}
	if err := r.curvesTable(w); err != nil {
		return err
	}
	for _, m := range r.Memory {
		fmt.Fprintf(w, "memory, %s: %.1f MiB idle; %.1f MiB with %d files known, %.0f bytes a file; %.1f MiB after they were forgotten\n",
			m.Peer, mib(m.Idle), mib(m.Known), m.Files, m.PerFile(), mib(m.Forgiven))
	}
	if err := r.requestsTable(w); err != nil {
		return err
	}
	for i, a := range r.Failures {
		if i == 0 {
			fmt.Fprintln(w, "\nfailed")
		}
		fmt.Fprintf(w, "%s\n", a)
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// reference is the peer that ratios are against: who was asked for, else overlayfs or what there is instead.
func (r *Result) reference() string {
	wanted := []string{Overlay, Plain}
	if r.Against != "" {
		wanted = []string{r.Against}
	}
	for _, p := range r.Peers {
		wanted = append(wanted, p.Name)
	}
	for _, want := range wanted {
		if slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Name == want && p.Missing == "" }) {
			return want
		}
	}
	return ""
}

func (r *Result) table(w io.Writer, client string) error {
	ref := r.reference()
	names := r.present(client)
	if len(names) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nas %s: time of an operation on %s, and how many times as fast the others are in the same round: %s\n", client, ref, legend)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "line\trounds\t%s\t", ref)
	for _, n := range names {
		if n != ref {
			fmt.Fprintf(t, "%s\t", n)
		}
	}
	fmt.Fprintln(t)
	for _, l := range r.Lines {
		if l.Client == client {
			r.tableRow(t, l, ref, names)
		}
	}
	for _, kind := range []string{KindMetadata, KindData, KindProgram, ""} {
		r.meanRow(t, kind, client, ref, names)
	}
	return t.Flush()
}

// legend says what the figures are, whatever the number of rounds was.
const legend = "the median, ± half of the interval that holds it in 95 of 100 cases, " +
	"of fewer than six rounds their whole range, which holds it in fewer (5: 94, 4: 88, 3: 75, 2: 50). " +
	"~ is known badly, = is no difference beyond noise"

// roundsWord is how many rounds the ratios of a line rest on.
func (l *Line) roundsWord(ref string) string {
	fewest, most := l.rounds(ref)
	if fewest == most {
		return strconv.Itoa(most)
	}
	return fmt.Sprintf("%d-%d", fewest, most)
}

func (r *Result) tableRow(t io.Writer, l *Line, ref string, names []string) {
	fmt.Fprintf(t, "%s\t%s\t", l.Name, l.roundsWord(ref))
	fmt.Fprintf(t, "%s\t", l.timeWord(ref))
	for _, n := range names {
		if n != ref {
			fmt.Fprintf(t, "%s\t", l.ratioWord(n, ref))
		}
	}
	fmt.Fprintln(t)
}

func (l *Line) timeWord(peer string) string {
	c := l.Cells[peer]
	switch {
	case c != nil && c.Error != "":
		return "failed"
	case c == nil || len(c.NsPerOp) == 0:
		return "-"
	}
	e := c.Time()
	if e.Confidence == 0 {
		return duration(e.Center)
	}
	return fmt.Sprintf("%s ±%.0f%%", duration(e.Center), 100*e.width())
}

func (l *Line) ratioWord(peer, ref string) string {
	if c := l.Cells[peer]; c != nil && c.Error != "" {
		return "failed"
	}
	e, ok := l.Ratio(peer, ref)
	if !ok {
		return "-"
	}
	if e.Confidence == 0 {
		return fmt.Sprintf("%.2f", e.Center) // one round tells nothing of the spread
	}
	mark := ""
	switch {
	case e.width() > readable:
		mark = "~"
	case e.Lo <= 1 && e.Hi >= 1:
		mark = "="
	}
	return fmt.Sprintf("%s%.2f±%.2f", mark, e.Center, (e.Hi-e.Lo)/2)
}

func (r *Result) meanRow(t io.Writer, kind, client, ref string, names []string) {
	word := kind
	if kind == "" {
		word = "all"
	}
	fmt.Fprintf(t, "geometric mean, %s\t\t\t", word)
	for _, n := range names {
		if n == ref {
			continue
		}
		mean, lines := r.GeoMean(n, ref, client, kind)
		if lines == 0 {
			fmt.Fprint(t, "-\t")
			continue
		}
		fmt.Fprintf(t, "%.2f (%d)\t", mean, lines)
	}
	fmt.Fprintln(t)
}

// present lists the peers that have something to show to a client, in the order of the run.
func (r *Result) present(client string) (names []string) {
	for _, p := range r.Peers {
		if slices.ContainsFunc(r.Lines, func(l *Line) bool { return l.Client == client && l.Cells[p.Name] != nil }) {
			names = append(names, p.Name)
		}
	}
	return names
}

func duration(ns float64) string {
	switch {
	case math.IsNaN(ns):
		return "-"
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.1f us", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.1f ms", ns/1e6)
	}
	return fmt.Sprintf("%.2f s", ns/1e9)
}

func (r *Result) curvesTable(w io.Writer) error {
	for _, c := range r.Curves {
		fmt.Fprintf(w, "\n%s, time of an operation over %s\n", c.Name, c.Over)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		names := c.peers()
		fmt.Fprintf(t, "%s\t%s\t\n", c.Over, strings.Join(names, "\t"))
		for _, p := range c.Points {
			fmt.Fprintf(t, "%.0f\t", p.X)
			for _, n := range names {
				word := "failed"
				if cell := p.Cells[n]; cell != nil && cell.Error == "" && len(cell.NsPerOp) > 0 {
					word = duration(cell.Time().Center)
				}
				fmt.Fprintf(t, "%s\t", word)
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Curve) peers() []string {
	all := map[string]bool{}
	for _, p := range c.Points {
		for n := range p.Cells {
			all[n] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// requestsTable prints how many FUSE requests an operation sends, the frequent kinds by name.
func (r *Result) requestsTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	some := false
	for _, l := range r.Lines {
		for _, p := range r.Peers {
			c := l.Cells[p.Name]
			if c == nil || c.Requests == nil {
				continue
			}
			if !some {
				fmt.Fprintln(t, "\nFUSE requests an operation\nline\tas\tpeer\tall\tkinds")
				some = true
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Name, l.Client, p.Name, c.requestsWords())
		}
	}
	return t.Flush()
}

func (c *Cell) requestsWords() string {
	kinds := slices.SortedFunc(maps.Keys(c.Requests), func(a, b string) int {
		if c.Requests[a] != c.Requests[b] {
			if c.Requests[a] > c.Requests[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	sum, words := 0.0, []string{}
	for _, k := range kinds {
		sum += c.Requests[k]
		if c.Requests[k] >= 0.005 {
			words = append(words, fmt.Sprintf("%s %.2f", k, c.Requests[k]))
		}
	}
	lost := ""
	if c.Lost {
		lost = "at least "
	}
	return fmt.Sprintf("%s%.2f\t%s", lost, sum, strings.Join(words, ", "))
}
