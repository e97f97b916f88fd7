package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const resultVersion = 2

// Result is one run of the benchmark: what is saved, printed, drawn and compared.
type Result struct {
	Version int
	Started time.Time
	Took    time.Duration
	Binary  string // what the measured unionmount says of its version
	Machine Machine
	Quick   bool
	Against string `json:",omitempty"` // the peer that was asked for to compare with
	Peers   []Peer
	Lines   []*Line
	Curves  []*Curve `json:",omitempty"`
	Memory  []Memory `json:",omitempty"`
	// Failures are what peers could not do; LeftOut what nobody was asked to do.
	Failures []Absence `json:",omitempty"`
	LeftOut  []Absence `json:",omitempty"`
}

// Absence is a line that has no figure, and why.
type Absence struct {
	Line   string
	Peer   string `json:",omitempty"` // "": all
	Client string `json:",omitempty"`
	Why    string
}

func (a Absence) String() string {
	of := a.Line
	if a.Peer != "" {
		of += " on " + a.Peer
	}
	if a.Client != "" {
		of += " as " + a.Client
	}
	return of + ": " + strings.Join(strings.Fields(a.Why), " ")
}

// Peer is one contender; Missing says why it could not take part.
type Peer struct {
	Name, About string
	Missing     string `json:",omitempty"`
	Transport   string `json:",omitempty"` // how requests reach the daemon of one of ours: io_uring or device
}

// Line is one workload by one kind of client.
type Line struct {
	Name, Kind string
	Client     string // "root" or "user"
	Cells      map[string]*Cell
	// Ratios are of the peers to the one compared with, round by round: what the tables show, for who reads the JSON.
	Ratios map[string]Estimate `json:",omitempty"`
	// Noisy: its ratios are still not known well after all rounds that it got.
	Noisy bool `json:",omitempty"`
}

// Cell is a line on one peer.
type Cell struct {
	Rounds   []int              // which round each sample is of
	NsPerOp  []float64          // one a round
	BytesPer float64            `json:",omitempty"` // bytes an operation moves, of data lines
	Requests map[string]float64 `json:",omitempty"` // FUSE requests an operation, by kind; counted apart from the timing
	Lost     bool               `json:",omitempty"` // some requests were not counted: the figures are too low
	Fio      json.RawMessage    `json:",omitempty"` // fio's own report of the last round
	Error    string             `json:",omitempty"` // it failed in some round: the rounds before count no more
}

// Curve is how a line grows with something.
type Curve struct {
	Name, Over string
	Points     []Point
}

// Point is one place of a curve: nanoseconds an operation, by peer.
type Point struct {
	X     float64
	Cells map[string]*Cell
}

// Memory is what a peer's daemon holds for the files that the kernel knows.
type Memory struct {
	Peer string
	// Files known after the first few requests, and after a walk of all.
	BaseFiles, Files int64
	// Bytes of RSS: just mounted, after those few, after the walk, a while after the kernel forgot.
	Idle, Base, Known, Forgiven int64
}

// PerFile is the bytes for each file known beyond those few.
func (m Memory) PerFile() float64 { return float64(m.Known-m.Base) / float64(m.Files-m.BaseFiles) }

// line finds or makes a line.
func (r *Result) line(name, kind, client string) *Line {
	i := slices.IndexFunc(r.Lines, func(l *Line) bool { return l.Name == name && l.Client == client })
	if i >= 0 {
		return r.Lines[i]
	}
	l := &Line{Name: name, Kind: kind, Client: client, Cells: map[string]*Cell{}}
	r.Lines = append(r.Lines, l)
	return l
}

func (l *Line) cell(peer string) *Cell {
	if l.Cells[peer] == nil {
		l.Cells[peer] = &Cell{}
	}
	return l.Cells[peer]
}

// empty tells that a peer was never asked.
func (c *Cell) empty() bool { return c == nil || len(c.NsPerOp) == 0 && c.Error == "" }

// note adds what one round measured.
func (c *Cell) note(round int, o outcome) {
	c.Rounds = append(c.Rounds, round)
	c.NsPerOp = append(c.NsPerOp, float64(o.Nanoseconds)/float64(o.Ops))
	if o.Bytes > 0 {
		c.BytesPer = float64(o.Bytes) / float64(o.Ops)
	}
	if o.Fio != nil {
		c.Fio = o.Fio
	}
}

// summarise fills in what follows from the rounds.
func (r *Result) summarise() {
	ref := r.reference()
	for _, l := range r.Lines {
		l.Ratios = map[string]Estimate{}
		for peer := range l.Cells {
			if e, ok := l.Ratio(peer, ref); ok && peer != ref {
				l.Ratios[peer] = e
			}
		}
	}
}

// Save writes the result to a file.
func (r *Result) Save(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Load reads a saved result.
func Load(path string) (*Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Result)
	err = json.Unmarshal(text, r)
	if err == nil && r.Version != resultVersion {
		err = errors.New("written by another version of the benchmark: measure anew")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
