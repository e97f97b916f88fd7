package model

import (
	"fmt"
	"syscall"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/worker"
)

// session is one state with the workers that act on it, and what is known of its objects.
type session struct {
	cfg     Config
	state   *State
	start   time.Time
	workers []*worker.Process
	ledger  *ledger

	refused int // operations, see Config.Refused
}

// begin makes a fresh state and starts the workers.
func begin(cfg Config) (*session, error) {
	s := &session{cfg: cfg, start: time.Now().Add(-time.Hour)}
	var err error
	if s.state, err = cfg.Fresh(); err != nil {
		return nil, fmt.Errorf("fresh state: %w", err)
	}
	s.look(func() { s.ledger, err = newLedger(s.state, cfg) })
	if err != nil {
		return nil, s.end(err)
	}
	for i := range cfg.Workers {
		var cred *syscall.Credential
		if len(cfg.Credentials) > 0 {
			cred = cfg.Credentials[i%len(cfg.Credentials)]
		}
		p, err := worker.Start(worker.Setup{Union: s.state.Union, Plain: s.state.Plain, Start: s.start, HeldBack: cfg.HeldBack}, cred)
		if err != nil {
			return nil, s.end(err)
		}
		s.workers = append(s.workers, p)
	}
	return s, nil
}

// end stops the workers and removes the state. It returns the error given, or the first of its own.
func (s *session) end(err error) error {
	for _, w := range s.workers {
		w.Close()
	}
	if s.state.Close != nil {
		if e := s.state.Close(); err == nil && e != nil {
			err = fmt.Errorf("close the state: %w", e)
		}
	}
	return err
}

// step executes one operation on both sides and compares the answers.
func (s *session) step(o op.Op) (op.Result, error) {
	if o.Kind == op.Remount {
		return op.Result{}, s.remount()
	}
	union, plain, err := s.execute(o)
	if err == nil && s.cfg.Besides != nil {
		err = s.cfg.Besides(o, union)
	}
	if err != nil {
		return plain, err
	}
	return plain, s.judge(o, union, plain)
}

// execute executes one operation on both sides.
func (s *session) execute(o op.Op) (union, plain op.Result, err error) {
	if o.Drop || s.cfg.Refused == nil {
		return s.workers[o.Worker].Do(o, worker.Both)
	}
	union, _, err = s.workers[o.Worker].Do(o, worker.Union)
	if err == nil {
		plain, err = s.repeatOn(o, union)
	}
	return union, plain, err
}

// repeatOn executes on the plain copy what the union has answered, unless it was refused there.
func (s *session) repeatOn(o op.Op, union op.Result) (op.Result, error) {
	w := s.workers[o.Worker]
	if s.cfg.Refused == nil || !s.cfg.Refused(s.state.Plain, o, union) {
		_, plain, err := w.Do(o, worker.Plain)
		return plain, err
	}
	s.refused++
	if o.Kind == op.Open || o.Kind == op.Tmpfile { // the slot was closed before
		_, _, err := w.Do(op.Op{Worker: o.Worker, Kind: op.Close, Slot: o.Slot}, worker.Plain)
		union.Seen = nil
		return union, err
	}
	union.Seen = nil
	return union, nil
}

// look runs what looks at the trees.
func (s *session) look(do func()) {
	if s.state.Look == nil {
		do()
		return
	}
	s.state.Look(do)
}

// judge compares two answers to one operation.
func (s *session) judge(o op.Op, union, plain op.Result) error {
	if union.Errno != plain.Errno || union.Out != plain.Out {
		if s.cfg.Accept(o, union, plain) {
			return nil
		}
		return differ([]string{o.String(), "union: " + union.String(), "plain: " + plain.String()}, o)
	}
	if o.Drop {
		return nil
	}
	what := s.ledger.note(union.Seen, plain.Seen)
	if what == nil || s.cfg.Accept(o, union, plain) {
		return nil
	}
	return differ(append([]string{o.String()}, what...), o)
}

// all executes an operation in every worker.
func (s *session) all(kind op.Kind) ([]op.Result, error) {
	var plains []op.Result
	for i := range s.workers {
		plain, err := s.step(op.Op{Worker: i, Kind: kind})
		if err != nil {
			return nil, err
		}
		plains = append(plains, plain)
	}
	return plains, nil
}

// remount closes all files and makes the union anew. What is there afterwards is compared as a whole: few remounts
// are asked for, and they are where forgotten state shows.
func (s *session) remount() error {
	if s.state.Remount == nil {
		return nil
	}
	if _, err := s.all(op.CloseAll); err != nil {
		return err
	}
	if err := s.state.Remount(); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	s.look(s.ledger.remounted)
	return s.compare()
}
