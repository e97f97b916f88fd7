package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// place is a scenario on one peer by one client.
type place struct {
	scenario, peer string
	uid            int
}

// turn runs one scenario once on one peer, on a fresh mount. What goes wrong costs that peer the lines from there on,
// in this round and all that follow; only the end of ctx ends the run.
func (r *runner) turn(ctx context.Context, s scenario, p peer, uid int, w watch) error {
	if !r.anyLine(s, p, 0, r.end(s, p, uid)) {
		return nil
	}
	done, err := r.attempt(ctx, s, p, uid, w)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		r.Log("%s on %s: cut off: %v", s.name, p.name, err)
		return ctx.Err()
	case done >= len(s.phases):
		done = 0 // not a phase, but the end of the mount or of the client: nothing of it is to be trusted
	}
	r.failed[place{s.name, p.name, uid}] = min(done, r.end(s, p, uid))
	r.fail(s, p, done, err, w)
	return nil
}

// fail notes an error on the first line that it costs, and on those that are not run because of it.
func (r *runner) fail(s scenario, p peer, at int, err error, w watch) {
	failed := s.phases[at]
	if !r.measures(s, p, at) {
		err = fmt.Errorf("%s: %w", failed.line, err)
	}
	lines := 0
	for i := at; i < len(s.phases); i++ {
		if !r.measures(s, p, i) {
			continue
		}
		if lines++; lines > 1 {
			err = fmt.Errorf("not run, for %s failed before it", failed.line)
		}
		w.fail(s.phases[i], err)
	}
	if lines == 0 {
		w.fail(failed, err)
	}
}

// attempt is a turn; done is the phase that failed, or how many there are.
func (r *runner) attempt(ctx context.Context, s scenario, p peer, uid int, w watch) (done int, err error) {
	err = r.onSite(s, p, uid, func(site *site) (err error) {
		defer site.forceAfter(ctx)()
		start := func(ctx context.Context) (*process, error) {
			return startClient(ctx, r.Binary, uid, client{Scenario: s.name, Dir: site.view, Scratch: site.dir,
				Scale: r.scale(), Runtime: r.runtime(), Lay: r.tracing})
		}
		c, err := start(ctx)
		if err != nil {
			return err
		}
		done, err = r.phases(s, p, uid, site, c, w)
		err = errors.Join(err, c.end(err != nil))
		if err != nil {
			err = errors.Join(err, tidy(s, start))
		}
		return err
	})
	return done, err
}

// onSite mounts a peer afresh for what do does with it. Of a mount that fails or doesn't end nothing is left.
func (r *runner) onSite(s scenario, p peer, uid int, do func(*site) error) (err error) {
	site, err := r.site(s, p, uid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.remove()) }()
	if err := r.warm(s, p, site); err != nil {
		return err
	}
	if err := r.mount(p, site); err != nil {
		return fmt.Errorf("mount: %w", errors.Join(err, site.detach()))
	}
	defer func() {
		if failed := p.unmount(site); failed != nil {
			err = errors.Join(err, fmt.Errorf("unmount: %w", failed), site.detach())
		}
	}()
	return do(site)
}

// tidy ends what a scenario that failed has left running, by a client of its own: the other may have been killed.
func tidy(s scenario, start func(context.Context) (*process, error)) error {
	for i, ph := range s.phases {
		if !ph.ends {
			continue
		}
		c, err := start(context.Background())
		if err != nil {
			return err
		}
		c.ask(order{Phase: i}) // nothing may be running: no error
		if err := c.end(true); err != nil {
			return err
		}
	}
	return nil
}

// warm brings the layers, or the plain copy, into the page and inode caches before a mount: else the first peer of
// a round would read them from the disk for all that follow. A cold line drops what is cached, for all alike.
func (r *runner) warm(s scenario, p peer, site *site) error {
	first := slices.IndexFunc(s.phases, func(ph phase) bool { return r.has(ph, p) })
	if first < 0 || s.phases[first].cold {
		return nil
	}
	dirs := site.lowers
	if p.flat() {
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
	return !(ph.lower && p.flat() || ph.slow && r.Quick)
}

// end is the phase before which the peer's turns end: where it failed, if it did.
func (r *runner) end(s scenario, p peer, uid int) int {
	if at, failed := r.failed[place{s.name, p.name, uid}]; failed {
		return at
	}
	return len(s.phases)
}

// measures tells whether a phase is a line of this run.
func (r *runner) measures(s scenario, p peer, i int) bool {
	ph := s.phases[i]
	return r.has(ph, p) && !ph.after && (r.Only == nil || s.point || r.Only.MatchString(ph.line))
}

func (r *runner) anyLine(s scenario, p peer, from, to int) bool {
	for i := from; i < to; i++ {
		if r.measures(s, p, i) {
			return true
		}
	}
	return false
}

// phases runs the phases up to where the peer failed before; those after the last line of this run only if they end what runs.
func (r *runner) phases(s scenario, p peer, uid int, site *site, c *process, w watch) (done int, err error) {
	end := r.end(s, p, uid)
	for i, ph := range s.phases {
		if !r.has(ph, p) || !ph.ends && !r.anyLine(s, p, i, end) {
			continue
		}
		if err := r.phase(s, p, i, site, c, w); err != nil {
			return i, err
		}
	}
	return len(s.phases), nil
}

// phase runs one: what it prepares is neither timed nor counted, and not dirty or cached any more when it begins.
func (r *runner) phase(s scenario, p peer, i int, site *site, c *process, w watch) error {
	ph := s.phases[i]
	if _, err := c.ask(order{Phase: i, Prepare: true}); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := settle(site.dir); err != nil {
		return err
	}
	if ph.cold {
		if err := dropCaches(); err != nil {
			return err
		}
	}
	if !r.measures(s, p, i) {
		_, err := c.ask(order{Phase: i})
		return err
	}
	if err := w.begin(site); err != nil {
		return err
	}
	o, err := c.ask(order{Phase: i})
	if err != nil {
		return err
	}
	return w.end(ph, o)
}
