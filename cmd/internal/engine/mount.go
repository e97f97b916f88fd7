package engine

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes"
)

// Mount makes a new mount. ready is called once it answers; Mount returns then,
// or in the foreground once the mount is gone. If it fails before, nothing is left.
func (e *Engine) Mount(q Request, ready func(*Info)) error {
	r, err := e.resolve(q)
	if err != nil {
		return err
	}
	if err := e.check(r); err != nil {
		return err
	}
	var undo undoer
	if err := e.prepare(r, &undo); err != nil {
		err = errors.Join(err, undo.run())
		if q.Name == "" && errors.Is(err, errTaken) {
			return e.Mount(q, ready) // another command drew the same name just now
		}
		return err
	}
	err = e.run(r, q.Foreground, func(s *State) {
		undo.steps = nil // from here on there may be data in what was made
		ready(describe(&s.Record, s, Running))
	})
	if err != nil {
		return errors.Join(err, undo.run())
	}
	return nil
}

// run serves r, here or in a daemon.
func (e *Engine) run(r *Record, foreground bool, ready func(*State)) error {
	if foreground {
		return e.serve(r, func(s *State) error { ready(s); return nil })
	}
	s, err := e.spawn(r)
	if err == nil {
		ready(s)
	}
	return err
}

// undoer takes steps back, last first.
type undoer struct{ steps []func() error }

func (u *undoer) add(f func() error) { u.steps = append(u.steps, f) }

func (u *undoer) run() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	return errors.Join(errs...)
}

// prepare makes what the mount needs: its record, upper, work, new volumes. The
// record comes first: from then on no volume in it can be removed.
func (e *Engine) prepare(r *Record, undo *undoer) error {
	var made []string
	undo.add(func() error { return e.dropNew(r.Name, made) }) // last: the record is gone then
	if !r.Helper {
		if err := e.save(r); err != nil {
			return err
		}
		undo.add(func() error { return errors.Join(volumes.RemoveTree(e.mountDir(r.Name)), e.forget(r.Name)) })
	}
	undo.add(func() error { return e.removeLog(r.Name) })
	if r.Upper != "" {
		if err := e.prepareUpper(r, undo); err != nil {
			return err
		}
	}
	if err := e.makeVolumes(r, undo, &made); err != nil {
		return err
	}
	e.note(TypeMount, "create", r.Name, map[string]string{"mountpoint": r.Mountpoint})
	undo.add(func() error { e.note(TypeMount, "destroy", r.Name, nil); return nil })
	return nil
}

// Start mounts a stopped or dead mount again, at another mountpoint if one is given.
func (e *Engine) Start(what, mountpoint string, ready func(*Info)) error {
	name, err := e.find(what)
	if err != nil {
		return err
	}
	kind, s, err := e.settled(name)
	switch {
	case err != nil:
		return err
	case kind == Running && s == nil:
		return fail(ErrConflict, "start "+name, "it is starting: unionmount ls tells")
	case kind == Running:
		return fail(ErrConflict, "start "+name, "it is running at %s", s.Record.Mountpoint)
	}
	r, err := e.load(name)
	if err != nil {
		return err
	}
	if kind == Dead {
		letGo := e.keepVolumes(r)
		defer letGo()
		if err := e.clearDead(name, s); err != nil {
			return err
		}
	}
	if mountpoint != "" {
		if r.Mountpoint, err = filepath.Abs(mountpoint); err != nil {
			return err
		}
	}
	if err := errors.Join(upperThere(r), e.check(r), e.volumesThere("start "+r.Name, r.Volumes)); err != nil {
		return err
	}
	if err := os.Mkdir(r.Work, 0o700); r.Upper != "" && err != nil && !errors.Is(err, os.ErrExist) {
		return fail(nil, "work "+r.Work, "%w", bare(err))
	}
	s, err = e.spawn(r)
	if err != nil {
		return err
	}
	ready(describe(&s.Record, s, Running))
	if mountpoint != "" {
		return e.update(r)
	}
	return nil
}
