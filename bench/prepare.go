package bench

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (c Config) prepare() (*runner, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Rounds == 0 {
		c.Rounds = 6 // the fewest of which a median has an interval of 95 %
		if c.Quick {
			c.Rounds = 3
		}
	}
	if c.Time == 0 && c.Quick {
		c.Time = quickTime
	}
	clock := newClock(c.Time)
	if c.Dir == "" {
		c.Dir = "/var/tmp" // /tmp is often a tmpfs
	}
	dir, err := os.MkdirTemp(c.Dir, "unionmount-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := spread(dir); err != nil {
		c.Log("%v", err)
	}
	r := &runner{Config: c, dir: abs(dir), trees: map[string]made{}, moreOf: map[string]bool{}, failed: map[place]int{}, clock: clock, absent: noTime,
		result: &Result{Version: resultVersion, Started: time.Now().UTC().Truncate(time.Second), Quick: c.Quick, Binary: versionOf(c.Binary)}}
	if err := r.choosePeers(); err != nil {
		return nil, errors.Join(err, r.clear())
	}
	if c.Count {
		if r.tracer, err = newTracer(filepath.Join(r.dir, "trace")); err != nil {
			r.leave(Absence{Line: "requests", Why: err.Error()})
			r.tracer = nil
		}
	}
	return r, nil
}

// choosePeers drops those that are not asked for or not to be had, and names the latter.
func (r *runner) choosePeers() error {
	for _, want := range r.Peers {
		if !slices.ContainsFunc(peers(), func(p peer) bool { return p.name == want }) {
			return misuse("no peer %q", want)
		}
	}
	for _, p := range peers() {
		asked := slices.Contains(r.Peers, p.name)
		if len(r.Peers) > 0 && !asked || p.user && !r.Users || p.slow && r.Quick && !asked {
			continue
		}
		known := Peer{Name: p.name, About: p.about}
		if p.missing != nil {
			known.Missing = p.missing(r.Config)
		}
		r.result.Peers = append(r.result.Peers, known)
		if known.Missing == "" {
			r.peers = append(r.peers, p)
		} else {
			r.Log("%s is left out: %s", p.name, known.Missing)
		}
	}
	r.result.Against = r.Against
	if r.Against != "" && r.result.reference() != r.Against {
		return misuse("--against %s: no peer of this run: name it with --peer too, if it is there and is installed", r.Against)
	}
	return nil
}

func versionOf(binary string) string {
	out, err := exec.Command(binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
