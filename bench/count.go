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

// counted tells whether a peer sends requests that are counted; a quick run leaves out who sends what another does.
func (p peer) counted(uid int, quick bool) bool {
	return p.name != Plain && p.name != Overlay && (!p.user || uid == plainUser) && (!quick || p.ours && !p.device)
}

// uncounted names the lines whose requests there was no time to count.
func (r *runner) uncounted() {
	if r.tracer == nil {
		return
	}
	for _, l := range r.result.Lines {
		uid := 0
		if l.Client != who(0) {
			uid = plainUser
		}
		for _, p := range r.peers {
			a := Absence{Line: l.Name, Peer: p.name, Client: l.Client, Why: "its requests are not counted: " + r.absent}
			c := l.Cells[p.name]
			if p.counted(uid, r.Quick) && !c.empty() && c.Error == "" && c.Requests == nil && !r.hasFailed(a) {
				r.leave(a)
			}
		}
	}
}
