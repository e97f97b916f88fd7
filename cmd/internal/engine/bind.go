package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// bind lays each volume over its route, parents first.
func (s *server) bind(m sys.Mount) error {
	root, err := sys.Open(s.state.Record.Mountpoint, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return fail(nil, "mount "+s.state.Record.Mountpoint, "open it: %w", err)
	}
	defer sys.Close(root)
	for i, v := range s.state.Record.Volumes {
		source := s.volumes.sources[i]
		id, err := sys.BindInto(root, v.Target, source, v.ReadOnly)
		if err == sys.ENOENT { // below a volume bound already: its own tree has no such name yet
			if err = s.makeWay(root, v.Target, source); err == nil {
				id, err = sys.BindInto(root, v.Target, source, v.ReadOnly)
			}
		}
		if err != nil {
			return fail(nil, "volume "+v.Target, "bind %s: %w: --volume-io fuse does without", v.Source, err)
		}
		s.state.Binds = append(s.state.Binds, id)
	}
	err = errors.New("its helper is not installed")
	if helperInstalled() {
		err = s.engine.point(s.state, m)
	}
	if err != nil {
		s.log.Warn("umount(8) will say busy: use unionmount umount, or umount -R", "why", err)
	}
	return nil
}

// makeWay makes, in the volume around it, what source is bound over.
func (s *server) makeWay(root int, target, source string) error {
	kind := uint32(sys.S_IFDIR)
	if st, err := os.Stat(source); err == nil && st.Mode().IsRegular() {
		kind = sys.S_IFREG
	}
	made, err := sys.MakeInto(root, target, kind)
	s.made = append(s.made, made...)
	return err
}

// unmountAll takes away the binds, last first, then the union; all or nothing,
// if not lazy. path is the state file of s.
func unmountAll(s *State, path string, lazy bool) error {
	if shows, err := s.shows(); err != nil || !shows {
		return err
	}
	taken, err := unmountBinds(s, lazy)
	if err == nil {
		err = unmountOne(s.Record.Mountpoint, lazy)
	}
	if err == nil || len(taken) == 0 || errors.Is(err, sys.ENOTCONN) {
		return err
	}
	return errors.Join(err, rebind(s, path, taken))
}

// shows tells whether the mountpoint shows the mount of s; false if that has gone,
// an error if another mount covers it: a path can't name what is below.
func (s *State) shows() (bool, error) {
	mounts, err := mountTable()
	if err != nil {
		return false, err
	}
	top, found := topmost(mounts, s.Record.Mountpoint)
	switch {
	case s.Dev == "", found && top.Dev == s.Dev:
		return true, nil
	case s.mounted():
		return false, fail(ErrConflict, "umount "+s.Record.Mountpoint, "another mount of type %s covers it: unmount that first", top.Type)
	}
	return false, nil
}

// unmountBinds finds our binds by their ids, below our mount: a directory above
// one may have been moved. taken says where each that it unmounted was.
func unmountBinds(s *State, lazy bool) (taken map[int]string, err error) {
	if len(s.Binds) == 0 {
		return nil, nil
	}
	mounts, err := mountTable()
	if err != nil {
		return nil, err
	}
	taken = make(map[int]string)
	for k, id := range slices.Backward(s.Binds) {
		i := slices.IndexFunc(mounts, func(m sys.Mount) bool { return m.ID == id })
		if i < 0 {
			continue // somebody was quicker
		}
		target := mounts[i].Target
		rel, ok := below(target, s.Record.Mountpoint)
		if !ok {
			continue // the number is another mount's by now
		}
		switch err := sys.Unmount(target, lazy); {
		case err == nil:
			taken[k] = rel
		case err != sys.EINVAL:
			return taken, fmt.Errorf("volume at %s: %w", target, explainBusy(err))
		}
	}
	return taken, nil
}

// rebind lays volumes over their routes again: in a connection made for bound
// volumes the routes alone would not be coherent.
func rebind(s *State, path string, taken map[int]string) error {
	root, err := sys.Open(s.Record.Mountpoint, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(root)
	for i, v := range s.Record.Volumes {
		rel, ok := taken[i]
		if !ok {
			continue
		}
		if s.Binds[i], err = rebindOne(root, "/"+rel, v); err != nil {
			return fmt.Errorf("volume at %s: bind it again: %w", v.Target, err)
		}
	}
	return s.amend(path)
}

func rebindOne(root int, at string, v VolumeRef) (id int, err error) {
	if v.Subpath == "" {
		return sys.BindInto(root, at, v.Source, v.ReadOnly)
	}
	fd, err := openSubpath(strings.TrimSuffix(v.Source, "/"+filepath.Clean(v.Subpath)), v.Subpath)
	if err != nil {
		return 0, err
	}
	defer sys.Close(fd)
	return sys.BindInto(root, at, sys.ProcPath(fd), v.ReadOnly)
}
