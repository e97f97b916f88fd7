package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// patience is how long a daemon may take to end after its mount is gone.
const patience = 30 * time.Second

// Umount stops a mount by name or mountpoint; upper and volumes stay.
func (e *Engine) Umount(what string, lazy bool) error {
	name, err := e.find(what)
	if err != nil {
		return err
	}
	kind, s, err := e.state(name)
	if err != nil {
		return err
	}
	switch {
	case kind == Stopped:
		return fail(ErrNotFound, "umount "+what, "it is not mounted")
	case kind == Dead:
		r, _ := e.load(name) // a helper's mount has no record
		return e.clearDead(name, s, r)
	case s == nil:
		return fail(ErrConflict, "umount "+what, "it is starting: try again")
	}
	if err := e.unmountAll(s, lazy); err != nil {
		return fail(busy(err), "umount "+what, "%w", err)
	}
	if lazy {
		return nil
	}
	if err := e.awaitEnd(name, patience); err != nil {
		return fail(nil, "umount "+what, "%w", err)
	}
	return nil
}

func busy(err error) error {
	if errors.Is(err, sys.EBUSY) {
		return ErrConflict
	}
	return nil
}

// find turns a name or mountpoint into a name.
func (e *Engine) find(what string) (string, error) {
	if !strings.Contains(what, "/") {
		if kind, _, err := e.state(what); err == nil && kind != Stopped {
			return what, nil
		}
		if _, err := os.Stat(e.config(what)); validName(what) && err == nil {
			return what, nil
		}
	}
	abs, err := filepath.Abs(what)
	if err != nil {
		return "", err
	}
	real := resolvedPath(abs)
	live, err := e.live()
	if err != nil {
		return "", err
	}
	for _, name := range live {
		_, s, err := e.state(name)
		if err == nil && s != nil && (s.Record.Mountpoint == abs || resolvedPath(s.Record.Mountpoint) == real) {
			return name, nil
		}
	}
	return "", fail(ErrNotFound, "umount "+what, "no mount has that name or mountpoint: unionmount ls lists them")
}

// resolvedPath resolves links in the parents only: the last name may be a dead mount, where any stat fails.
func resolvedPath(p string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(p))
	if err != nil {
		return p
	}
	return filepath.Join(dir, filepath.Base(p))
}

// unmountAll takes away the binds, last first, then the union.
func (e *Engine) unmountAll(s *State, lazy bool) error {
	if err := unmountBinds(s.Binds, lazy); err != nil {
		return err
	}
	return unmountOne(s.Record.Mountpoint, lazy)
}

// unmountBinds finds our binds by their ids: a directory above one may have been moved.
func unmountBinds(ids []int, lazy bool) error {
	if len(ids) == 0 {
		return nil
	}
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		i := slices.IndexFunc(mounts, func(m sys.Mount) bool { return m.ID == id })
		if i < 0 {
			continue // somebody was quicker
		}
		if err := sys.Unmount(mounts[i].Target, lazy); err != nil && err != sys.EINVAL {
			return fmt.Errorf("volume at %s: %w", mounts[i].Target, explainBusy(err))
		}
	}
	return nil
}

func explainBusy(err error) error {
	if err == sys.EBUSY {
		return fmt.Errorf("%w: a process has it open or works in it: end it, or use --lazy", err)
	}
	return err
}

func mountTable() ([]sys.Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sys.ParseMounts(f)
}

// unmountOne unmounts the union: by umount2 where we may, else by fusermount3.
func unmountOne(target string, lazy bool) error {
	err := sys.Unmount(target, lazy)
	switch {
	case err == nil || err == sys.EINVAL || err == sys.ENOENT:
		return nil // EINVAL: not mounted any more
	case err != sys.EPERM:
		return explainBusy(err)
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	out, err := exec.Command("fusermount3", append(args, "--", target)...).CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if strings.Contains(text, "busy") {
		return explainBusy(sys.EBUSY)
	}
	if strings.Contains(text, "not found") || strings.Contains(text, "not mounted") {
		return nil
	}
	return fmt.Errorf("fusermount3: %s: %w", text, err)
}

// clearDead takes away what a killed daemon left: mounts that answer nothing and the state file.
func (e *Engine) clearDead(name string, s *State, r *Record) error {
	if s != nil {
		if err := e.unmountDead(s); err != nil {
			return fail(nil, "clear up "+name, "%w", err)
		}
		e.detached(s)
	}
	if r != nil && r.Remove {
		if err := removeAll(e.mountDir(name)); err != nil {
			return err
		}
	}
	err := os.Remove(e.statePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// unmountDead unmounts only what is a mount of ours still. No path leads through
// a dead mount to the binds on it; a lazy unmount takes them along.
func (e *Engine) unmountDead(s *State) error {
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	real := resolvedPath(s.Record.Mountpoint)
	for _, m := range mounts {
		if m.Target == real && m.Type == "fuse.unionmount" {
			return unmountOne(real, true)
		}
	}
	return nil
}

// Remove removes a mount: its record, log and, if it is kept below the root, its upper.
func (e *Engine) Remove(name string, force bool) error {
	r, err := e.load(name)
	if err != nil {
		return err
	}
	kind, s, err := e.state(name)
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
		if err := e.clearDead(name, s, r); err != nil {
			return err
		}
	}
	if err := removeAll(e.mountDir(name)); err != nil {
		return fail(nil, "rm "+name, "%w", err)
	}
	if err := os.Remove(e.logPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return e.forget(name)
}

// Prune removes every mount that is stopped or dead and returns their names.
func (e *Engine) Prune() (gone []string, err error) {
	names, err := e.names()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		kind, _, err := e.state(name)
		if err == nil && kind == Running {
			continue
		}
		if err == nil {
			err = e.Remove(name, false)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, name)
	}
	return gone, errors.Join(errs...)
}

// pointers is where a mount with binds says, by device, which state file is its
// own: the umount helper knows the mountpoint only.
const pointers = "/run/unionmount"

type pointer struct{ State string }

func (e *Engine) pointTo(s *State) error {
	path, err := pointerOf(s.Record.Mountpoint)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(pointers, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(pointer{e.statePath(s.Record.Name)})
	if err != nil {
		return err
	}
	return writeSynced(path, text)
}

// pointerOf names the pointer of the mount at target.
func pointerOf(target string) (string, error) {
	mounts, err := mountTable()
	if err != nil {
		return "", err
	}
	real := resolvedPath(target)
	for _, m := range slices.Backward(mounts) {
		if m.Target == real && m.Type == "fuse.unionmount" {
			return filepath.Join(pointers, m.Dev), nil
		}
	}
	return "", fail(ErrNotFound, "umount "+target, "not a mount of unionmount")
}

// detached removes the pointer of a mount that is gone.
func (e *Engine) detached(s *State) {
	entries, err := os.ReadDir(pointers)
	if err != nil || len(s.Binds) == 0 {
		return
	}
	for _, d := range entries {
		p := filepath.Join(pointers, d.Name())
		var got pointer
		if text, err := os.ReadFile(p); err == nil && json.Unmarshal(text, &got) == nil && got.State == e.statePath(s.Record.Name) {
			_ = os.Remove(p) // another clears up at the same time
		}
	}
}

// UmountTarget is what umount(8)'s helper does: the volumes, then the union.
func UmountTarget(target string, lazy bool) error {
	abs, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	path, err := pointerOf(abs)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return unmountOne(abs, lazy) // no binds
	}
	if err != nil {
		return err
	}
	var p pointer
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	var s State
	if text, err = os.ReadFile(p.State); err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return fmt.Errorf("umount %s: read its state: %w: unmount what is below it, then it, with umount -i", target, err)
	}
	if err := unmountBinds(s.Binds, lazy); err != nil {
		return err
	}
	return unmountOne(abs, lazy)
}
