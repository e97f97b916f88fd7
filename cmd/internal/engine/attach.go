package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/volumes"
)

// attached is what a daemon holds for the volumes of its mount.
type attached struct {
	leases  []*volumes.Lease
	sources []string // of each volume: what is routed and bound
	files   []int    // that keep sources of volume-subpath
	tmpfs   []string // mounted for this mount alone
}

// patienceDetach is how long a daemon that ends waits for drivers before it says
// that the mount is stopped: one that hangs must not block umount.
const patienceDetach = 2 * time.Second

// attachVolumes takes a lease on each named volume, fills it if it is empty, and
// routes all volumes, parents first.
func (s *server) attachVolumes(union *unionfs.FS) error {
	r := &s.state.Record
	data := make(map[string]string) // of named volumes
	for i := range r.Volumes {
		v := &r.Volumes[i]
		if _, has := data[v.Name]; v.Name != "" && !has {
			path, err := s.takeVolume(union, v.Name)
			if err != nil {
				return blame("volume "+v.Name, err)
			}
			data[v.Name] = path
		}
		source, err := s.source(v, data[v.Name], i)
		if err != nil {
			return blame("volume "+cmp.Or(v.Name, v.Target), err)
		}
		s.volumes.sources = append(s.volumes.sources, source)
	}
	for i, v := range r.Volumes {
		if err := union.Attach(unionfs.Volume{Source: s.volumes.sources[i], Target: v.Target, ReadOnly: v.ReadOnly}); err != nil {
			return blame("mount "+r.Mountpoint, err)
		}
	}
	return nil
}

// takeVolume attaches one named volume, at all paths where the mount has it.
func (s *server) takeVolume(union *unionfs.FS, name string) (data string, err error) {
	r := &s.state.Record
	var uses []volumes.Use
	for _, v := range r.Volumes {
		if v.Name == name {
			uses = append(uses, volumes.Use{Mount: r.Name, Pid: s.state.Pid, Since: s.state.StartedAt, Path: v.Target, ReadOnly: v.ReadOnly})
		}
	}
	ctx, cancel := patiently()
	defer cancel()
	l, data, err := s.engine.volumes().Attach(ctx, name, uses, func(d *volumes.Data) error { return s.fill(union, name, d) })
	if err != nil {
		return "", err
	}
	s.volumes.leases = append(s.volumes.leases, l)
	s.engine.noteVolume(r, "attach", name)
	return data, nil
}

// noteVolume notes that a volume was attached or detached, once for each path.
func (e *Engine) noteVolume(r *Record, action, name string) {
	for _, v := range r.Volumes {
		if v.Name == name {
			e.note(TypeVolume, action, name, map[string]string{"driver": v.Driver, "mount": r.Name,
				"destination": v.Target, "read/write": strconv.FormatBool(!v.ReadOnly)})
		}
	}
}

// fill fills an empty volume with what the union has where it is about to appear.
func (s *server) fill(union *unionfs.FS, name string, d *volumes.Data) error {
	for _, v := range s.state.Record.Volumes {
		if v.Name != name || v.NoCopy || v.Subpath != "" {
			continue
		}
		from, err := union.Subtree(v.Target)
		filled := false
		if err == nil && from != nil {
			filled, err = d.Fill(from)
		}
		if err != nil {
			return fail(nil, "volume "+name, "fill it from %s: %w: nothing of it was kept; nocopy leaves a volume empty", v.Target, err)
		}
		if filled {
			s.log.Info("filled an empty volume", "volume", name, "from", v.Target)
			return nil
		}
	}
	return nil
}

// source is the path under which a volume is routed and bound.
func (s *server) source(v *VolumeRef, data string, i int) (string, error) {
	switch {
	case v.Tmpfs != nil:
		dir := filepath.Join(s.engine.tmpfsDir(s.state.Record.Name), strconv.Itoa(i))
		v.Source = dir
		return dir, s.mountTmpfs(dir, v.Tmpfs)
	case v.Subpath != "":
		v.Source = filepath.Join(data, v.Subpath)
		fd, err := openSubpath(data, v.Subpath)
		if err != nil {
			return "", err
		}
		s.volumes.files = append(s.volumes.files, fd)
		return sys.ProcPath(fd), nil
	case v.Name != "":
		v.Source = data
	}
	return v.Source, nil
}

// openSubpath opens what lies at a path inside a volume's data. No link is
// followed: the data is anybody's who writes to the volume.
func openSubpath(data, subpath string) (int, error) {
	dir, err := sys.Open(data, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer sys.Close(dir)
	fd, err := sys.OpenBeneath(dir, filepath.Clean(subpath), sys.O_PATH, 0)
	switch {
	case err == sys.ENOENT:
		return -1, fail(ErrNotFound, "volume-subpath "+subpath, "no such file or directory in the volume: make it first")
	case err == sys.ELOOP || err == sys.EXDEV:
		return -1, fail(nil, "volume-subpath "+subpath, "%w: it leads through a symbolic link", err)
	case err != nil:
		return -1, fail(nil, "volume-subpath "+subpath, "%w", err)
	}
	if st, err := sys.StatAt(fd, ""); err != nil || st.Mode&sys.S_IFMT == sys.S_IFLNK {
		_ = sys.Close(fd)
		return -1, fail(nil, "volume-subpath "+subpath, "%w: it is a symbolic link", cmp.Or(err, error(sys.ELOOP)))
	}
	return fd, nil
}

func (e *Engine) tmpfsDir(mount string) string { return filepath.Join(e.Root, "run", mount+".tmpfs") }

func (s *server) mountTmpfs(dir string, t *volumes.Tmpfs) error {
	if !sys.HasCap(sys.CAP_SYS_ADMIN) {
		return fail(ErrUnsupported, "tmpfs", "only root mounts one: use a volume")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mode := t.Mode
	if mode == 0 {
		mode = 0o1777
	}
	words := []string{fmt.Sprintf("mode=%o", mode)}
	if t.Size > 0 {
		words = append(words, fmt.Sprintf("size=%d", t.Size))
	}
	if err := sys.MountFS("tmpfs", dir, "tmpfs", sys.MS_NOSUID|sys.MS_NODEV, strings.Join(words, ",")); err != nil {
		return fail(nil, "tmpfs", "mount(2): %w", err)
	}
	s.volumes.tmpfs = append(s.volumes.tmpfs, dir)
	return nil
}

// detachVolumes gives back what attachVolumes took. The union has gone.
func (s *server) detachVolumes() error {
	v := s.volumes
	s.volumes = attached{}
	for _, fd := range v.files {
		_ = sys.Close(fd) // O_PATH: nothing to lose
	}
	var errs []error
	for _, l := range slices.Backward(v.leases) {
		ctx, cancel := patiently()
		errs = append(errs, l.Release(ctx))
		cancel()
		s.engine.noteVolume(&s.state.Record, "detach", l.Volume())
	}
	if len(v.tmpfs) > 0 {
		errs = append(errs, s.engine.dropTmpfs(s.state.Record.Name))
	}
	return errors.Join(errs...)
}

// dropTmpfs takes away the file systems in memory of a mount that has gone.
func (e *Engine) dropTmpfs(mount string) error {
	base := e.tmpfsDir(mount)
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		if _, ok := below(m.Target, base); ok && m.Type == "tmpfs" {
			errs = append(errs, sys.Unmount(m.Target, true))
		}
	}
	return errors.Join(append(errs, volumes.RemoveTree(base))...)
}

// sweepVolumes gives back what a killed daemon had of volumes: leases, and what
// only drivers mounted for it.
func (e *Engine) sweepVolumes(ctx context.Context, r *Record) error {
	var errs []error
	tmpfs := slices.ContainsFunc(r.Volumes, func(v VolumeRef) bool { return v.Tmpfs != nil })
	for _, name := range r.volumeNames() {
		errs = append(errs, e.volumes().Sweep(ctx, name))
	}
	if tmpfs {
		errs = append(errs, e.dropTmpfs(r.Name))
	}
	return errors.Join(errs...)
}
