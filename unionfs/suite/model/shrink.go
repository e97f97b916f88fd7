package model

import (
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// shrink looks for a short part of the sequence that fails too, until the deadline: first what shares names or
// files with the failing operation, then by delta debugging (Zeller's ddmin).
func shrink(cfg Config, ops, shown []op.Op, deadline time.Time) (best []op.Op, what []string) {
	fails := func(candidate []op.Op) bool {
		if time.Now().After(deadline) {
			return false
		}
		w, err := replay(cfg, candidate)
		if err != nil || w == nil {
			return false
		}
		best, what = append([]op.Op(nil), candidate...), w
		return true
	}
	if related := relatives(ops, shown); !fails(related) {
		// The whole sequence takes as long as the run that failed; its end is worth a try before.
		if !fails(ops[max(0, len(ops)-200):]) && !fails(ops) {
			return nil, nil
		}
	}
	for parts := 2; len(best) > 1 && time.Now().Before(deadline); {
		smaller := false
		for _, candidate := range without(best, parts) {
			if fails(candidate) {
				smaller = true
				break
			}
		}
		switch {
		case smaller:
			parts = max(parts-1, 2)
		case parts >= len(best):
			return best, what
		default:
			parts = min(parts*2, len(best))
		}
	}
	return best, what
}

// without lists the sequence with each of its parts left out, the earliest first.
func without(ops []op.Op, parts int) [][]op.Op {
	var out [][]op.Op
	for i := range parts {
		from, to := i*len(ops)/parts, (i+1)*len(ops)/parts
		out = append(out, append(append([]op.Op(nil), ops[:from]...), ops[to:]...))
	}
	return out
}

// relatives keeps the operations that those which showed the difference may depend on: they name the same paths, or
// those above or below, or the same open file; backwards, so that a rename leads on to where things were before.
func relatives(ops, shown []op.Op) []op.Op {
	type slot struct{ worker, slot int }
	paths, slots := map[string]bool{}, map[slot]bool{}
	take := func(o op.Op) {
		for _, p := range o.Paths() {
			paths[p] = true
		}
		for s := range op.Slots {
			if o.OnSlot() && (s == o.Slot || o.Kind == op.CopyRange && s == o.Slot2) || o.Kind == op.CheckHandles {
				slots[slot{o.Worker, s}] = true
			}
		}
	}
	for _, o := range shown {
		take(o)
	}
	var kept []op.Op
	for i := len(ops) - 1; i >= 0; i-- {
		o := ops[i]
		related := o.Kind == op.Umask || o.Kind == op.Remount || o.Kind == op.CloseAll ||
			o.OnSlot() && slots[slot{o.Worker, o.Slot}]
		for _, p := range o.Paths() {
			related = related || touches(paths, p)
		}
		if !related {
			continue
		}
		kept = append(kept, o)
		take(o)
	}
	slices.Reverse(kept)
	return kept
}

// touches says that p is one of the paths, or above or below one.
func touches(paths map[string]bool, p string) bool {
	for q := range paths {
		if p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/") {
			return true
		}
	}
	return false
}
