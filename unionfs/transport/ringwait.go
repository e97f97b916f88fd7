package transport

import "time"

// wait waits for a completion: there may be none when it returns, a signal came.
//
// The disk's interrupt comes to the processor that its driver has chosen, often one for all. If that isn't this one, and
// this one is halted, to wake it takes 30 to 40 us, of 100 for a read of 4 KiB. So a thread that gives way polls while the
// disk is waited for, by itself or by its helper: SCHED_IDLE, it takes the processor from nobody.
func (w *worker) wait() error {
	if w.away == 0 || !w.gives.on || !w.pace.worth() {
		return w.ring.wait()
	}
	for end := now() + diskPatience; now() < end; {
		if err := w.ring.poll(); err != nil {
			return err
		}
		if w.ring.pending() {
			w.pace.hit()
			return nil
		}
	}
	w.pace.miss()
	return w.ring.wait()
}

// diskPatience is how long to poll for the disk: a fast one has answered by then, and to a slow one 40 us are nothing.
const diskPatience = 300 * time.Microsecond

// diskPace decides whether to poll for the disk. It costs nothing but power, so only one that is slow again and again
// is polled for less often.
type diskPace struct {
	misses int // in a row
	left   int // waits to sleep for before polling is tried again
}

const (
	fewMisses = 4
	rarest    = 8 // one wait of 1<<rarest
)

func (p *diskPace) worth() bool {
	if p.left > 0 {
		p.left--
		return false
	}
	return true
}

func (p *diskPace) hit() { p.misses = 0 }

func (p *diskPace) miss() {
	if p.misses++; p.misses > fewMisses {
		p.left = 1 << min(p.misses-fewMisses, rarest)
	}
}
