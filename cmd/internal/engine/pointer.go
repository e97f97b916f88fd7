package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/layers/sys"
)

// pointers is where a mount with binds says, by device, which state file is its
// own: umount(8)'s helper is told the mountpoint only.
const pointers = "/run/unionmount"

type pointer struct{ State string }

// point lets umount(8) undo the binds of s: it shall call our helper, and the helper shall find s.
func (e *Engine) point(s *State, m sys.Mount) error {
	if err := os.MkdirAll(pointers, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(pointer{e.statePath(s.Record.Name)})
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(pointers, m.Dev), text, 0o600); err != nil {
		return err
	}
	return utabAdd(m)
}

// unpoint takes back what point did, for a mount that is gone.
func (e *Engine) unpoint(s *State) error {
	if len(s.Binds) == 0 || s.Dev == "" {
		return nil
	}
	path := filepath.Join(pointers, s.Dev)
	p, err := readPointer(path)
	if err != nil || p.State != e.statePath(s.Record.Name) {
		return nil // none, or another mount's by now
	}
	err = utabRemove(s.Record.Mountpoint)
	if gone := os.Remove(path); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func readPointer(path string) (p pointer, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

// UmountTarget is what umount(8)'s helper does: the volumes, then the union.
func UmountTarget(target string, lazy bool) error {
	abs, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	abs = resolvedPath(abs)
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	m, found := topmost(mounts, abs)
	if !found || m.Type != unionType {
		return fail(ErrNotFound, "umount "+target, "not a mount of unionmount")
	}
	p, err := readPointer(filepath.Join(pointers, m.Dev))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return blame("umount "+target, unmountOne(abs, lazy)) // no binds, or none of ours
	}
	if err != nil {
		return blame("umount "+target, err)
	}
	return blame("umount "+target, unmountPointed(p, abs, lazy))
}

// unmountPointed unmounts what a state file says. Through a dead mount no path
// leads to the binds on it: a lazy unmount takes them along.
func unmountPointed(p pointer, target string, lazy bool) error {
	var s State
	text, err := os.ReadFile(p.State)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return fmt.Errorf("read its state: %w: unmount what is below it, then it, with umount -i", err)
	}
	err = unmountAll(&s, p.State, lazy)
	if errors.Is(err, sys.ENOTCONN) {
		return unmountOne(target, true)
	}
	return err
}

// topmost is the mount that shows at target: the last one in the table.
func topmost(mounts []sys.Mount, target string) (top sys.Mount, found bool) {
	for _, m := range mounts {
		if m.Target == target {
			top, found = m, true
		}
	}
	return top, found
}
