package engine

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/volumes"
)

// checkUpper checks where the upper and work are or will be, and returns those that are there.
func (e *Engine) checkUpper(r *Record, lowers []place) ([]place, error) {
	if r.Upper == "" {
		return nil, nil
	}
	up, err := look("upper", r.Upper)
	if r.OwnUpper && errors.Is(err, errMissing) {
		return nil, e.checkOwnUpper(r, lowers)
	}
	if err != nil {
		return nil, err
	}
	if err := apart(up, lowers); err != nil {
		return nil, err
	}
	work, err := look("work", r.Work)
	made := err == nil
	if errors.Is(err, errMissing) {
		work, err = nearest("work", filepath.Dir(r.Work))
		work.given = r.Work
	}
	if err != nil {
		return nil, err
	}
	if err := checkWork(up, work, made, lowers); err != nil {
		return nil, err
	}
	if err := errors.Join(overlayUses(up), e.unused(up)); err != nil || !made {
		return []place{up}, err
	}
	return []place{up, work}, errors.Join(overlayUses(work), e.unused(work))
}

// checkOwnUpper is for an upper that is made below the root.
func (e *Engine) checkOwnUpper(r *Record, lowers []place) error {
	home, err := nearest("upper", filepath.Dir(r.Upper))
	if err != nil {
		return err
	}
	for _, l := range lowers {
		if home.same(l) || home.inside(l) || l.under(e.mountDir(r.Name)) {
			return fail(nil, "upper "+r.Upper, "it would lie inside layer %s or around it: choose a directory outside with --upper, or another --root", l.given)
		}
	}
	return nil
}

// apart refuses an upper or work that shares files with a layer.
func apart(p place, lowers []place) error {
	for _, l := range lowers {
		switch {
		case p.same(l):
			return fail(nil, p.what+" "+p.given, "it is a layer too, and a layer is never written: name another directory")
		case p.inside(l):
			return fail(nil, p.what+" "+p.given, "it lies inside layer %s: choose a directory outside", l.given)
		case l.inside(p):
			return fail(nil, p.what+" "+p.given, "layer %s lies inside it: choose a directory outside", l.given)
		}
	}
	return nil
}

// checkWork checks work, or, if it isn't made yet, the directory it will be made in.
func checkWork(up, work place, made bool, lowers []place) error {
	what := "work " + work.given
	switch {
	case work.dev != up.dev:
		return fail(nil, what, "it is on another file system than upper %s: name a directory beside the upper with --work", up.given)
	case work.same(up) || work.inside(up) || made && up.inside(work):
		return fail(nil, what, "it must lie beside upper %s, not inside it nor around it", up.given)
	case made:
		return apart(work, lowers)
	}
	for _, l := range lowers {
		if work.same(l) || work.inside(l) {
			return fail(nil, what, "it lies inside layer %s: choose a directory outside", l.given)
		}
	}
	return nil
}

// unused refuses an upper or work of another running mount of this root. (One of
// another root shows when the daemon locks it.)
func (e *Engine) unused(p place) error {
	names, err := e.live()
	if err != nil {
		return err
	}
	for _, name := range names {
		kind, s, err := e.state(name)
		if err != nil || kind != Running || s == nil {
			continue
		}
		for _, dir := range []string{s.Record.Upper, s.Record.Work} {
			if dir == "" {
				continue
			}
			if q, err := look("", dir); err == nil && q.same(p) && s.mounted() {
				return fail(ErrConflict, p.what+" "+p.given, "the running mount %s at %s has it: unionmount umount %s first", name, s.Record.Mountpoint, name)
			}
		}
	}
	return nil
}

// upperThere makes sure that an upper of ours still is: an empty one in the place of lost data would be worse.
func upperThere(r *Record) error {
	if !r.OwnUpper {
		return nil
	}
	if _, err := os.Lstat(r.Upper); errors.Is(err, os.ErrNotExist) {
		return fail(ErrNotFound, "start "+r.Name, "upper %s is gone, or was never made since the command that mounts was killed: unionmount rm %s, and mount again", r.Upper, r.Name)
	}
	return nil
}

// prepareUpper makes work and, if it is ours, upper.
func (e *Engine) prepareUpper(r *Record, undo *undoer) error {
	if r.OwnUpper {
		if err := os.Mkdir(r.Upper, 0o700); err != nil {
			return err
		}
		// The root of the union is upper's: it looks like the topmost layer's.
		if err := dress(r.Upper, r.Layers[0]); err != nil {
			return err
		}
	}
	err := os.Mkdir(r.Work, 0o700)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return fail(nil, "work "+r.Work, "%w: name a directory on upper's file system with --work", bare(err))
	}
	undo.add(func() error { return cow.RemoveWork(r.Work, volumes.RemoveTree) })
	return nil
}
