package engine

import (
	"fmt"
	"slices"

	"github.com/unionmount/unionmount/layers/sys"
)

// bind lays each volume over its route, parents first.
func (s *server) bind(m sys.Mount) error {
	root, err := sys.Open(s.state.Record.Mountpoint, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return fail(nil, "mount "+s.state.Record.Mountpoint, "open it: %w", err)
	}
	defer sys.Close(root)
	for _, v := range s.state.Record.Volumes {
		id, err := sys.BindInto(root, v.Target, v.Source, v.ReadOnly)
		if err == sys.ENOENT { // below a volume bound already: its own tree has no such directory yet
			if err = sys.MkdirInto(root, v.Target); err == nil {
				id, err = sys.BindInto(root, v.Target, v.Source, v.ReadOnly)
			}
		}
		if err != nil {
			return fail(nil, "volume "+v.Target, "bind %s: %w: --volume-io fuse does without", v.Source, err)
		}
		s.state.Binds = append(s.state.Binds, id)
	}
	if err := s.engine.point(s.state, m); err != nil {
		s.log.Warn("umount(8) will say busy: only unionmount umount can take the volumes away", "err", err)
	}
	return nil
}

// unmountAll takes away the binds, last first, then the union.
func (e *Engine) unmountAll(s *State, lazy bool) error {
	if err := unmountBinds(s, lazy); err != nil {
		return err
	}
	return unmountOne(s.Record.Mountpoint, lazy)
}

// unmountBinds finds our binds by their ids, below our mount: a directory above
// one may have been moved.
func unmountBinds(s *State, lazy bool) error {
	if len(s.Binds) == 0 {
		return nil
	}
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(s.Binds) {
		i := slices.IndexFunc(mounts, func(m sys.Mount) bool { return m.ID == id })
		if i < 0 {
			continue // somebody was quicker
		}
		target := mounts[i].Target
		if _, ok := below(target, s.Record.Mountpoint); !ok {
			continue // the number is another mount's by now
		}
		if err := sys.Unmount(target, lazy); err != nil && err != sys.EINVAL {
			return fmt.Errorf("volume at %s: %w", target, explainBusy(err))
		}
	}
	return nil
}
