package model

import (
	"errors"
	"fmt"
	"sync"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/worker"
)

// Tops names the subtrees in which the n processes of Concurrent live. The states must have them.
func Tops(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("process%d", i)
	}
	return out
}

// Concurrent runs all workers at the same time on the union, each in its own of Tops, at full speed; then what each
// did is repeated on the plain copy, and must have been answered the same. Config.Ops are each worker's. A failure is
// not shrunk: alone its operations would do something else.
func Concurrent(cfg Config) error {
	cfg = cfg.withDefaults()
	s, err := begin(cfg)
	if err != nil {
		return err
	}
	runs := make([]solo, cfg.Workers)
	errs := make([]error, cfg.Workers)
	var wg sync.WaitGroup
	for k, top := range Tops(cfg.Workers) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g := newGenerator(cfg, cfg.Seed+int64(k), s.look, s.state.Union, top)
			g.single = k
			runs[k], errs[k] = s.alone(g)
		}()
	}
	wg.Wait()
	err = errors.Join(errs...)
	for k := 0; k < cfg.Workers && err == nil; k++ {
		var history []op.Op
		if history, err = s.repeat(runs[k]); err != nil {
			cfg.ShrinkFor = -1
			return s.end(cfg.explain(err, history))
		}
	}
	if err == nil {
		err = s.compare()
	}
	cfg.ShrinkFor = -1
	if err = s.end(err); err != nil {
		return cfg.explain(err, nil)
	}
	return nil
}

// solo is what one worker did on the union, and what it was answered.
type solo struct {
	ops     []op.Op
	answers []op.Result
}

// alone runs one worker on the union.
func (s *session) alone(g *generator) (solo, error) {
	var run solo
	for range s.cfg.Ops {
		o := g.next()
		union, _, err := s.workers[o.Worker].Do(o, worker.Union)
		if err != nil {
			return run, err
		}
		g.observe(o, union)
		o.Drop = s.cfg.drop(o)
		run.ops, run.answers = append(run.ops, o), append(run.answers, union)
	}
	return run, nil
}

// repeat does what one worker did on the plain copy. It returns the operations up to a difference.
func (s *session) repeat(run solo) ([]op.Op, error) {
	for i, o := range run.ops {
		w := s.workers[o.Worker]
		if i == 0 {
			if _, _, err := w.Do(op.Op{Worker: o.Worker, Kind: op.Umask, Mode: 0o022}, worker.Plain); err != nil {
				return nil, err
			}
		}
		if o.Drop {
			continue // the fault: here the sides have changed places
		}
		plain, err := s.repeatOn(o, run.answers[i])
		if err != nil {
			return run.ops[:i+1], err
		}
		if err := s.judge(o, run.answers[i], plain); err != nil {
			return run.ops[:i+1], err
		}
	}
	return run.ops, nil
}
