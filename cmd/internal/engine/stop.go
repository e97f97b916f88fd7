package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// Umount stops a mount by name or mountpoint; upper and volumes stay.
func (e *Engine) Umount(what string, lazy bool) error {
	name, err := e.find(what)
	if err != nil {
		return err
	}
	kind, s, err := e.awaitState(name, patienceStart, func(kind string, s *State) bool { return kind != Running || s != nil && s.Ready })
	switch {
	case err != nil:
		return err
	case kind == Stopped:
		return fail(ErrNotFound, "umount "+what, "it is not mounted")
	case kind == Dead:
		return e.clearAndDrop(name, s)
	case s == nil || !s.Ready:
		return fail(ErrConflict, "umount "+what, "it is starting: try again")
	}
	if err := unmountAll(s, e.statePath(name), lazy); err != nil {
		if errors.Is(err, sys.EBUSY) {
			return fail(ErrConflict, "umount "+what, "%w", err)
		}
		return blame("umount "+what, err)
	}
	if lazy {
		return nil
	}
	kind, s, err = e.awaitState(name, patienceEnd, func(kind string, _ *State) bool { return kind != Running })
	switch {
	case err != nil:
		return err
	case kind == Running:
		return fail(nil, "umount "+what, "unmounted here, but daemon %d still serves after %s: another mount namespace has the mount, or see %s", s.Pid, patienceEnd, e.logPath(name))
	case kind == Dead: // killed while it ended
		return e.clearAndDrop(name, s)
	}
	return nil
}

// UmountAll stops every mount that is running or dead, the youngest first: it may
// cover an older one, or lie in it.
func (e *Engine) UmountAll(lazy bool) error {
	names, err := e.live()
	if err != nil {
		return err
	}
	started := make(map[string]time.Time)
	for _, name := range names {
		if _, s, err := e.state(name); err == nil && s != nil {
			started[name] = s.StartedAt
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return started[b].Compare(started[a]) })
	var errs []error
	for _, name := range names {
		if err := e.Umount(name, lazy); !errors.Is(err, ErrNotFound) { // it ended by itself
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func explainBusy(err error) error {
	if err == sys.EBUSY {
		return fmt.Errorf("%w: a process or a mount below uses it: end that, or use --lazy", err)
	}
	return err
}

// find turns a name or mountpoint into a name: a bare word is a name if a mount
// has it, else a path.
func (e *Engine) find(what string) (string, error) {
	if !strings.Contains(what, "/") && validName(what) {
		if kind, _, err := e.state(what); err != nil || kind != Stopped || e.recorded(what) {
			return what, err
		}
	}
	abs, err := filepath.Abs(what)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else {
		abs = resolvedPath(abs)
	}
	name, err := e.findLive(abs)
	if err != nil || name != "" {
		return name, err
	}
	entries, err := os.ReadDir(filepath.Join(e.Root, "mounts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, d := range entries {
		if r, err := e.load(d.Name()); err == nil && r.Mountpoint == abs {
			return r.Name, nil
		}
	}
	return "", noMount(what)
}

// findLive finds the mount at a mountpoint: a running one before a dead one, the youngest of several.
func (e *Engine) findLive(mountpoint string) (found string, err error) {
	names, err := e.live()
	if err != nil {
		return "", err
	}
	var best *State
	bestKind := ""
	for _, name := range names {
		kind, s, err := e.state(name)
		if err != nil || s == nil || s.Record.Mountpoint != mountpoint {
			continue
		}
		better := best == nil || kind == Running && bestKind == Dead ||
			kind == bestKind && s.StartedAt.After(best.StartedAt)
		if better {
			best, bestKind, found = s, kind, name
		}
	}
	return found, nil
}

// resolvedPath resolves links in the parents only: the last name may be a dead mount, where any stat fails.
func resolvedPath(p string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(p))
	if err != nil {
		return p
	}
	return filepath.Join(dir, filepath.Base(p))
}

// unmountOne unmounts the union: by umount2 where we may, else by fusermount3.
// One that isn't mounted any more is no error.
func unmountOne(target string, lazy bool) error {
	err := sys.Unmount(target, lazy)
	switch {
	case err == nil || err == sys.EINVAL || err == sys.ENOENT:
		return nil
	case err != sys.EPERM:
		return explainBusy(err)
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	out, err := exec.Command("fusermount3", append(args, "--", target)...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil || strings.Contains(text, "not found") || strings.Contains(text, "not mounted"):
		return nil
	case strings.Contains(text, "busy"):
		return explainBusy(sys.EBUSY)
	}
	return fmt.Errorf("fusermount3: %s: %w", text, err)
}
