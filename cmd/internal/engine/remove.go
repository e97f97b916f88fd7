package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes"
)

// Remove removes a mount: its record, log and, if it is kept below the root, its
// upper; volumes: its anonymous volumes too. A running one is unmounted first if
// force says so.
func (e *Engine) Remove(what string, force, volumes bool) error {
	name, err := e.find(what)
	if err != nil {
		return err
	}
	kind, s, err := e.settled(name)
	switch {
	case err != nil:
		return err
	case kind == Running && !force:
		return fail(ErrConflict, "rm "+name, "it is running: unionmount umount %s first, or rm -f", name)
	case kind == Running:
		if err := e.Umount(name, false); err != nil {
			return err
		}
	case kind == Dead:
		if err := e.clearDead(name, s); err != nil {
			return err
		}
	}
	r, err := e.load(name)
	if errors.Is(err, ErrNotFound) { // it went with its end (--rm)
		return nil
	}
	err = blame("rm "+name, e.removeKept(name))
	if r != nil && err == nil && (volumes || r.Remove) {
		err = errors.Join(e.removeAnonymous(r), e.indexVolumes(anonymous(r)...))
	}
	return err
}

// removeKept removes all that is kept of a stopped mount. It holds the mount's
// lease, so that nobody starts it meanwhile.
func (e *Engine) removeKept(name string) error {
	lease, err := e.hold(name)
	if err != nil {
		return err
	}
	// The record goes last: what can't be removed is still a mount's.
	for _, dir := range []string{"upper", "work", "."} {
		if err == nil {
			err = volumes.RemoveTree(filepath.Join(e.mountDir(name), dir))
		}
	}
	if err == nil {
		err = errors.Join(e.removeLog(name), e.forget(name))
		e.note(TypeMount, "destroy", name, nil)
	}
	return errors.Join(err, lease.release())
}

// Prune removes every mount that is stopped or dead and returns their names.
func (e *Engine) Prune() (gone []string, err error) {
	all, err := e.List(true)
	errs := []error{err}
	for _, m := range all {
		if m.State == Running {
			continue
		}
		if err := e.Remove(m.Name, false, false); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, m.Name)
	}
	return gone, errors.Join(errs...)
}

// dress gives dir the mode and, where we may, the owner of another directory.
func dress(dir, like string) error {
	fd, err := sys.Open(like, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	err = os.Chown(dir, int(st.Uid), int(st.Gid))
	// EINVAL, EOVERFLOW: an owner without a number in our user namespace
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, sys.EINVAL) && !errors.Is(err, sys.EOVERFLOW) {
		return err
	}
	mode, err := os.Stat(like)
	if err != nil {
		return err
	}
	return os.Chmod(dir, mode.Mode())
}
