package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes"
)

// clearDead takes away what a killed daemon left: mounts that answer nothing and
// the state file. The mount is stopped then.
func (e *Engine) clearDead(name string, s *State) error {
	lease, err := e.hold(name) // nobody starts it meanwhile
	if err != nil {
		return err
	}
	if s != nil {
		if err := unmountDead(s); err != nil {
			return fail(nil, "clear up "+name, "%w", errors.Join(err, lease.file.Close()))
		}
		e.note(TypeMount, "die", name, map[string]string{"mountpoint": s.Record.Mountpoint})
		err = e.unpoint(s)
		e.letGo(name, &s.Record)
	}
	return errors.Join(err, lease.release())
}

// letGo gives back what a killed daemon had of volumes. A driver that hangs must not
// block umount: what it has still is given back before the volume's next use.
func (e *Engine) letGo(name string, r *Record) {
	ctx, cancel := context.WithTimeout(context.Background(), patienceDetach)
	defer cancel()
	if err := e.sweepVolumes(ctx, r); err != nil {
		fmt.Fprintf(os.Stderr, "unionmount: mount %s: a volume is left to its next use: %v\n", name, err)
	}
	for _, v := range r.volumeNames() {
		e.noteVolume(r, "detach", v)
	}
}

// keepVolumes keeps mounted, while a dead mount is started again, what drivers mounted
// for it: else a file system in memory would be empty. What can't be kept is mounted anew,
// and says then what is wrong with it.
func (e *Engine) keepVolumes(r *Record) (letGo func()) {
	ctx, cancel := context.WithTimeout(context.Background(), patienceStart)
	defer cancel()
	var kept []*volumes.Lease
	for _, name := range r.volumeNames() {
		l, err := e.volumes().Keep(ctx, name, volumes.Use{Mount: fmt.Sprintf("start.%d", os.Getpid()), Pid: os.Getpid()})
		if err == nil && l != nil {
			kept = append(kept, l)
		}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), patienceDetach)
		defer cancel()
		for _, l := range kept {
			if err := l.Release(ctx); err != nil {
				fmt.Fprintf(os.Stderr, "unionmount: mount %s: a volume is left to its next use: %v\n", r.Name, err)
			}
		}
	}
}

// clearAndDrop does too what the daemon would have done at its end.
func (e *Engine) clearAndDrop(name string, s *State) error {
	if err := e.clearDead(name, s); err != nil {
		return err
	}
	r, err := e.load(name)
	switch {
	case errors.Is(err, ErrNotFound): // of mount(8)'s form
		return e.removeLog(name)
	case err != nil || !r.Remove:
		return err
	}
	return errors.Join(e.removeKept(name), e.removeAnonymous(r), e.indexVolumes(anonymous(r)...))
}

// unmountDead unmounts the mount of s if it is still there and dead. No path
// leads through it to the binds on it; a lazy unmount takes them along.
func unmountDead(s *State) error {
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	target := s.Record.Mountpoint
	m, found := topmost(mounts, target)
	if !found || m.Type != unionType || s.Dev != "" && m.Dev != s.Dev {
		return nil
	}
	// After a reboot device numbers begin anew: only what answers nothing is dead.
	if sys.Answers(target) != sys.ENOTCONN {
		return nil
	}
	return unmountOne(target, true)
}

// forgotten removes the state of a dead mount of mount(8)'s form whose mountpoint
// is free again: such a mount is recorded only while it lives.
func (e *Engine) forgotten(name string, s *State) (bool, error) {
	if s != nil && (!s.Record.Helper || s.mounted()) || e.recorded(name) {
		return false, nil
	}
	return true, errors.Join(e.clearDead(name, s), e.removeLog(name))
}

func (e *Engine) removeLog(name string) error {
	err := os.Remove(e.logPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
