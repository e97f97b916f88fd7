package model

import (
	"fmt"
	"strings"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/worker"
	"golang.org/x/sys/unix"
)

// Crash kills the union's server at a random moment, as often as asked, each time at most within after the last
// restart. What was acknowledged before must be there afterwards; the operation in flight has happened or not, and of
// data that it wrote a part may have. Config.Ops is not used.
func Crash(cfg Config, kills int, within time.Duration) error {
	cfg = cfg.withDefaults()
	cfg.RemountEvery, cfg.ShrinkFor = -1, -1
	s, err := begin(cfg)
	if err != nil {
		return err
	}
	g := newGenerator(cfg, cfg.Seed, s.look, s.state.Plain, "")
	var history []op.Op
	for k := 0; k < kills && err == nil; k++ {
		history, err = s.crashOnce(g, time.Duration(g.rng.Int63n(int64(within))))
		cfg.Log("kill %d after %d operations", k+1, len(history))
	}
	if err = s.end(err); err != nil {
		return cfg.explain(err, history)
	}
	return nil
}

// crashOnce runs until the server is dead, restarts it and compares.
func (s *session) crashOnce(g *generator, after time.Duration) ([]op.Op, error) {
	killed := make(chan error, 1)
	go func() {
		defer close(killed)
		time.Sleep(after)
		if err := s.state.Kill(); err != nil {
			killed <- err
		}
	}()
	history, inFlight, err := s.untilDead(g, killed)
	if e := <-killed; err == nil && e != nil {
		err = fmt.Errorf("kill: %w", e)
	}
	if err != nil {
		return history, err
	}
	if err := s.each(op.CloseAll, worker.Union); err != nil {
		return history, err
	}
	if err := s.state.Restart(); err != nil {
		return history, fmt.Errorf("restart: %w", err)
	}
	s.look(s.ledger.remounted)
	if err := s.settle(inFlight); err != nil {
		return history, err
	}
	if err := s.each(op.CloseAll, worker.Plain); err != nil {
		return history, err
	}
	g.observe(op.Op{Kind: op.Remount}, op.Result{})
	g.refresh()
	return history, nil
}

// untilDead issues operations until the union answers no more. It returns the one that got no answer, if any.
func (s *session) untilDead(g *generator, killed <-chan error) (history []op.Op, inFlight *op.Op, err error) {
	const enough = 500 // a dead server shows earlier, unless there is none
	dead := false
	for left := enough; left > 0; {
		select {
		case err := <-killed:
			if err != nil {
				return history, nil, fmt.Errorf("kill: %w", err)
			}
			dead = true
		default:
		}
		if dead {
			left--
		}
		o := g.next()
		o.Drop = s.cfg.drop(o)
		history = append(history, o)
		union, plain, lost, err := s.acknowledged(o)
		if lost {
			return history, &o, nil
		}
		if err == nil {
			err = s.judge(o, union, plain)
		}
		if err != nil {
			return history, nil, err
		}
		g.observe(o, plain)
	}
	return history, nil, nil
}

// acknowledged executes on the plain side what the union has answered.
func (s *session) acknowledged(o op.Op) (union, plain op.Result, lost bool, err error) {
	w := s.workers[o.Worker]
	union, _, err = w.Do(o, worker.Union)
	if err != nil || union.Dead() || (failedIO(union) || cutShort(o, union)) && s.gone() {
		return union, plain, err == nil, err
	}
	if s.cfg.HeldBack && (o.Kind == op.Write || o.Kind == op.Pwrite) && union.Errno == 0 {
		synced, _, err := w.Do(op.Op{Worker: o.Worker, Kind: op.Fsync, Slot: o.Slot}, worker.Union)
		if err != nil || synced.Dead() || synced.Errno != 0 && s.gone() {
			return union, plain, err == nil, err
		}
	}
	plain, err = s.repeatOn(o, union)
	if err == nil && o.Drop {
		union = plain
		union.Seen = nil
	}
	return union, plain, false, err
}

// failedIO says that the operation, or the look at what it did, met EIO, or EINTR, which is the answer to what lies in
// an io_uring as its process is killed.
func failedIO(r op.Result) bool {
	for _, e := range [...]unix.Errno{unix.EIO, unix.EINTR} {
		if r.Errno == e || strings.Contains(r.Out, unix.ErrnoName(e)) || strings.Contains(r.Out, e.Error()) {
			return true
		}
	}
	return false
}

// cutShort says that a read or write ended early: what takes several requests may get an answer to the first only.
func cutShort(o op.Op, r op.Result) bool {
	switch o.Kind {
	case op.Write, op.Pwrite, op.Read, op.Pread:
		n, _, _ := strings.Cut(r.Out, " ")
		return r.Errno == 0 && n != fmt.Sprintf("n=%d", o.Len)
	}
	return false
}

// gone says that the union has no server: reading pages then fails with EIO. A look
// that was under way as the last of the server's descriptors was closed is aborted.
func (s *session) gone() bool {
	var st unix.Statfs_t
	var err error
	s.look(func() { err = unix.Statfs(s.state.Union, &st) })
	switch err {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ECANCELED:
		return true
	}
	return false
}

// each executes an operation in every worker on some sides. The answers don't matter.
func (s *session) each(kind op.Kind, sides worker.Sides) error {
	for i, w := range s.workers {
		if _, _, err := w.Do(op.Op{Worker: i, Kind: kind}, sides); err != nil {
			return err
		}
	}
	return nil
}

// settle compares the trees with and without the operation in flight. On return they are equal.
func (s *session) settle(inFlight *op.Op) error {
	before, err := s.compareTrees(map[string]string{})
	if err != nil || before == nil {
		return err
	}
	if inFlight == nil {
		return differ(before)
	}
	if before, err = s.touched(before); err != nil || before == nil {
		return err
	}
	torn, err := s.openTorn(*inFlight, before)
	if err != nil {
		return err
	}
	if _, _, err := s.workers[inFlight.Worker].Do(*inFlight, worker.Plain); err != nil {
		return err
	}
	after, err := s.compareTrees(map[string]string{})
	if err != nil || after == nil {
		return err
	}
	if after, err = s.touched(after); err != nil || after == nil {
		return err
	}
	partly := false
	if torn != nil {
		s.look(func() { partly = torn.accepts() })
	}
	if partly {
		torn.adopt()
		if after, err = s.compareTrees(map[string]string{}); err != nil || after == nil {
			return err
		}
	}
	what := append([]string{"in flight: " + inFlight.String(), "without it:"}, before...)
	return differ(append(append(what, "with it:"), after...))
}
