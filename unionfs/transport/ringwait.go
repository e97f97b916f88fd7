package transport

import "time"

// wait waits for a completion: there may be none when it returns, a signal came.
//
// The disk's interrupt comes to the processor that its driver has chosen, often one for all. If that isn't this one, and
// this one is halted, to wake it takes 30 to 40 us, of 100 for a read of 4 KiB. So a thread that gives way polls while the
// disk is waited for, by itself or by its helper, where that has been quicker: SCHED_IDLE, it takes the processor from nobody.
func (w *worker) wait() error {
	if w.away == 0 || !w.gives.on {
		return w.ring.wait()
	}
	polls, start := w.pace.polls(), now()
	for polls && now()-start < diskPatience && !w.ring.pending() {
		if err := w.ring.poll(); err != nil {
			return err
		}
	}
	if !w.ring.pending() {
		if err := w.ring.wait(); err != nil {
			return err
		}
	}
	w.pace.took(polls, now()-start)
	return nil
}

// diskPatience is how long to poll for the disk: a fast one has answered by then, and to a slow one 40 us are nothing.
const diskPatience = 300 * time.Microsecond

// diskPace decides whether to poll for the disk: it does what was quicker of late, and tries the other now and then. On the
// processor that the interrupt comes to, polling may double the wait: whoever is to be interrupted in a virtual machine has to be stopped first.
type diskPace struct {
	waits         int
	polled, slept typical
}

const (
	paceTurn  = 256 // waits, of which
	paceTries = 5   // go the other way
)

func (p *diskPace) polls() bool {
	p.waits++
	better := p.polled < p.slept-p.slept/8
	if p.waits%paceTurn < paceTries {
		return !better
	}
	return better
}

func (p *diskPace) took(polled bool, d time.Duration) {
	if polled {
		p.polled.add(d)
	} else {
		p.slept.add(d)
	}
}

// typical is about the median of durations, the latest above all; 0: of none.
type typical time.Duration

func (t *typical) add(d time.Duration) {
	if *t == 0 {
		*t = typical(d)
		return
	}
	step := max(*t/16, 1)
	*t += min(max(typical(d)-*t, -step), step)
}
