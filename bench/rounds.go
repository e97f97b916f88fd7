package bench

import (
	"context"
	"slices"
)

// lines measures every scenario, and those that came out noisy once more.
func (r *runner) lines(ctx context.Context, chosen []scenario) error {
	for round := range 3 * r.Rounds {
		did := false
		for _, s := range chosen {
			if round >= r.Rounds && !r.moreOf[s.name] || !r.clock.fits(s.name, r.linesPart()) {
				continue
			}
			did = true
			done := r.clock.measure(s.name)
			if err := r.round(ctx, s, round); err != nil {
				return err
			}
			done()
			r.judge(s)
		}
		if !did {
			break
		}
	}
	return nil
}

// judge marks the lines of a scenario that are not known well yet.
func (r *runner) judge(s scenario) {
	r.moreOf[s.name] = false
	ref := r.result.reference()
	for _, p := range s.phases {
		for _, l := range r.result.Lines {
			if l.Name == p.line {
				l.Noisy = l.unsure(ref)
				r.moreOf[s.name] = r.moreOf[s.name] || l.Noisy
			}
		}
	}
}

// inTurn is how the peers take turns in a round: backwards in each odd one, and another begins after two,
// so that nobody always follows the same other.
func inTurn(peers []peer, round int) []peer {
	n := len(peers)
	turns := make([]peer, 0, n)
	for i := range n {
		turns = append(turns, peers[(i+round/2)%n])
	}
	if round%2 == 1 {
		slices.Reverse(turns)
	}
	return turns
}

// round lets each peer have its turn at a scenario.
func (r *runner) round(ctx context.Context, s scenario, round int) error {
	for _, uid := range r.clients() {
		for _, p := range inTurn(r.peers, round) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if p.user && uid != plainUser {
				continue
			}
			r.Log("round %d, %s, %s as %s", round+1, s.name, p.name, who(uid))
			if err := r.turn(ctx, s, p, uid, r.timing(p, uid, round)); err != nil {
				return err
			}
		}
	}
	return nil
}
