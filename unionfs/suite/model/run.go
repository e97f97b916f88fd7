package model

import (
	"fmt"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// Run issues the operations one at a time. It returns a *Failure if the union is not what its plain copy is.
func Run(cfg Config) error {
	cfg = cfg.withDefaults()
	s, err := begin(cfg)
	if err != nil {
		return err
	}
	var history []op.Op
	if err = s.compare(); err == nil {
		history, err = s.drive(newGenerator(cfg, cfg.Seed, s.look, s.state.Plain, ""))
	}
	if s.refused > 0 {
		cfg.Log("%d of %d operations were refused by the union and left out", s.refused, len(history))
	}
	if err = s.end(err); err == nil {
		return nil
	}
	return cfg.explain(err, history)
}

// drive runs the operations and comparisons of one run. It returns the operations issued.
func (s *session) drive(g *generator) ([]op.Op, error) {
	history := make([]op.Op, 0, s.cfg.Ops)
	begun := time.Now()
	for i := 1; i <= s.cfg.Ops; i++ {
		o := g.next()
		o.Drop = s.cfg.drop(o)
		history = append(history, o)
		plain, err := s.step(o)
		if err != nil {
			return history, err
		}
		g.observe(o, plain)
		if i%s.cfg.CompareEvery == 0 || i == s.cfg.Ops {
			if err := s.compare(); err != nil {
				return history, err
			}
			s.cfg.Log("%d operations, %.0f/s", i, float64(i)/time.Since(begun).Seconds())
		}
	}
	return history, nil
}

// explain makes a difference a Failure, shrunk if there is time. Other errors stay what they are.
func (c Config) explain(err error, history []op.Op) error {
	m, ok := isMismatch(err)
	if !ok {
		return fmt.Errorf("model run (seed %d, after operation %d): %w", c.Seed, len(history), err)
	}
	const last = 12
	f := &Failure{Seed: c.Seed, Index: len(history), What: m.what, Last: history[max(0, len(history)-last):]}
	if c.ShrinkFor > 0 {
		c.Log("shrinking: %v", err)
		f.Shrunk, f.ShrunkWhat = shrink(c, history, m.after, time.Now().Add(c.ShrinkFor))
	}
	return f
}

// replay runs a sequence on a fresh state and compares at its end. It returns how that differs, or nil.
func replay(cfg Config, ops []op.Op) ([]string, error) {
	s, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	for _, o := range ops {
		if _, err = s.step(o); err != nil {
			break
		}
	}
	if err == nil {
		err = s.compare()
	}
	err = s.end(err)
	if m, ok := isMismatch(err); ok {
		return m.what, nil
	}
	return nil, err
}
