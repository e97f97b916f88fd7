package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// watch is told of every phase of a turn: before its client starts, and of what came of it.
type watch struct {
	begin func(*site) error
	end   func(phase, outcome, error) error
}

// timing notes in the result what a round took.
func (r *runner) timing(p peer, uid, round int) watch {
	return watch{
		begin: func(*site) error { return nil },
		end: func(ph phase, o outcome, err error) error {
			cell := r.result.line(ph.line, ph.kind, who(uid)).cell(p.name)
			if err != nil {
				cell.Error = err.Error()
				r.Log("%s on %s: %v", ph.line, p.name, err)
				return nil
			}
			cell.note(round, o)
			return nil
		},
	}
}

// counting notes how many requests an operation sends: what one costs is timed without tracing.
func (r *runner) counting(p peer, uid int) watch {
	return watch{
		begin: func(s *site) error {
			dev, err := device(s.merged)
			return errors.Join(err, r.tracer.start(dev))
		},
		end: func(ph phase, o outcome, err error) error {
			if err != nil {
				return r.tracer.cancel()
			}
			counts, lost, stopped := r.tracer.stop()
			if stopped != nil {
				return stopped
			}
			cell := r.result.line(ph.line, ph.kind, who(uid)).cell(p.name)
			cell.Lost = lost
			cell.Requests = make(map[string]float64)
			for kind, n := range counts {
				cell.Requests[kind] = float64(n) / float64(o.Ops)
			}
			return nil
		},
	}
}

// turn runs one scenario once on one peer, on a fresh mount.
func (r *runner) turn(s scenario, p peer, uid int, w watch) (err error) {
	site, err := r.site(s, p, uid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.remove()) }()
	if err := r.warm(s, p, site); err != nil {
		return err
	}
	if err := r.mount(p, site); err != nil {
		return r.refused(s, w, fmt.Errorf("mount: %w", err))
	}
	defer func() { err = errors.Join(err, p.unmount(site)) }()
	c, err := startClient(r.Binary, uid, client{Scenario: s.name, Dir: site.view, Scratch: site.dir, Scale: r.scale(), Runtime: r.runtime()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	return r.phases(s, p, site, c, w)
}

// warm brings the layers, or the plain copy, into the page and inode caches before a mount: else the first peer of
// a round would read them from the disk for all that follow. A cold line drops what is cached, for all alike.
func (r *runner) warm(s scenario, p peer, site *site) error {
	first := slices.IndexFunc(s.phases, func(ph phase) bool { return r.has(ph, p) })
	if first < 0 || s.phases[first].cold {
		return nil
	}
	dirs := site.lowers
	if p.volume || p.name == Plain {
		dirs = []string{site.flat}
	}
	for _, dir := range dirs {
		if err := readTree(dir); err != nil {
			return fmt.Errorf("warm the layers: %w", err)
		}
	}
	return nil
}

// has tells whether a phase is run on a peer.
func (r *runner) has(ph phase, p peer) bool {
	return !(ph.lower && (p.volume || p.name == Plain) || ph.slow && r.Quick)
}

// refused notes a peer that can't be mounted over these layers on each of its lines: the others go on.
func (r *runner) refused(s scenario, w watch, why error) error {
	for _, ph := range s.phases {
		if ph.after {
			continue
		}
		if err := w.end(ph, outcome{}, why); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) phases(s scenario, p peer, site *site, c *process, w watch) error {
	for i, ph := range s.phases {
		if !r.has(ph, p) {
			continue
		}
		if err := settle(site.dir); err != nil {
			return err
		}
		if ph.cold {
			if err := dropCaches(); err != nil {
				return err
			}
		}
		if err := w.begin(site); err != nil {
			return err
		}
		o, err := c.phase(i)
		if ph.after {
			if err != nil {
				return fmt.Errorf("%s: %w", ph.line, err)
			}
			continue
		}
		if r.Only == nil || r.Only.MatchString(ph.line) {
			if err := w.end(ph, o, err); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // what follows builds on it
		}
	}
	return nil
}

// site makes a fresh place with the scenario's layers.
func (r *runner) site(s scenario, p peer, uid int) (*site, error) {
	m, err := r.tree(s, uid)
	if err != nil {
		return nil, err
	}
	r.sites++
	site, err := newSite(filepath.Join(r.dir, fmt.Sprintf("site%d", r.sites)), r.Binary, uid)
	if err != nil {
		return nil, err
	}
	site.lowers, site.flat = m.lowers, m.flat
	if s.changes && (p.name == Plain || p.volume) {
		site.flat = site.dir + "/flat"
		err = errors.Join(os.Mkdir(site.flat, 0o755), copyTree(m.flat, site.flat), settle(site.dir))
	}
	return site, err
}

// tree makes the layers of a scenario, and their plain copy, once for each client: they are his own, as most files
// are that somebody works with.
func (r *runner) tree(s scenario, uid int) (made, error) {
	t, n := s.tree, s.layers
	if n == 0 {
		n = t.layers
	}
	key := fmt.Sprintf("%s-%d-%s", t.name, n, who(uid))
	if m, ok := r.trees[key]; ok {
		return m, nil
	}
	r.Log("making the tree %s of %d layers", t.name, n)
	base := filepath.Join(r.dir, "tree-"+strings.ReplaceAll(key, " ", "-"))
	m := made{flat: base + "/flat"}
	if err := os.MkdirAll(m.flat, 0o755); err != nil {
		return m, err
	}
	for i := range n {
		l := fmt.Sprintf("%s/%d", base, i)
		if err := errors.Join(os.Mkdir(l, 0o755), t.fill(l, i, r.scale()), give(l, uid), copyTree(l, m.flat)); err != nil {
			return m, fmt.Errorf("make the tree %s: %w", t.name, err)
		}
		m.lowers = append([]string{l}, m.lowers...)
	}
	r.trees[key] = m
	return m, settle(r.dir)
}

// count runs each scenario once more with tracing on: what a request costs is
// timed without, how many there are is counted with.
func (r *runner) count(ctx context.Context, chosen []scenario) error {
	if r.tracer == nil {
		return nil
	}
	for _, s := range chosen {
		for _, uid := range r.clients() {
			for _, p := range r.peers {
				if p.name == Plain || p.name == Overlay || p.user && uid != plainUser {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				r.Log("counting requests: %s, %s as %s", s.name, p.name, who(uid))
				if err := r.turn(s, p, uid, r.counting(p, uid)); err != nil {
					return fmt.Errorf("count %s on %s: %w", s.name, p.name, err)
				}
			}
		}
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
