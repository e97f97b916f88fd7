package bench

import "context"

// count runs each scenario once more with tracing on: what a request costs is
// timed without, how many there are is counted with. A quick run counts ours only.
func (r *runner) count(ctx context.Context, chosen []scenario) error {
	if r.tracer == nil {
		return nil
	}
	r.tracing = true
	defer func() { r.tracing = false }()
	for _, s := range chosen {
		for _, uid := range r.clients() {
			for _, p := range r.peers {
				if !p.counted(uid, r.Quick) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				key := "count " + s.name
				if !r.clock.fits(key, r.countPart()) {
					r.uncounted(s, p, uid)
					continue
				}
				done := r.clock.measure(key)
				r.Log("counting requests: %s, %s as %s", s.name, p.name, who(uid))
				if err := r.turn(ctx, s, p, uid, r.counting(p, uid)); err != nil {
					return err
				}
				done()
			}
		}
	}
	return nil
}

// counted tells whether a peer sends requests that are counted.
func (p peer) counted(uid int, quick bool) bool {
	return p.name != Plain && p.name != Overlay && (!p.user || uid == plainUser) && (!quick || p.ours)
}

func (r *runner) uncounted(s scenario, p peer, uid int) {
	for i, ph := range s.phases {
		if r.measures(s, p, i) {
			r.leave(Absence{Line: "requests of " + ph.line, Peer: p.name, Client: who(uid), Why: noTime})
		}
	}
}
