package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Remove deletes a volume that nobody has attached; ErrConflict else. The caller
// has made sure that no stopped mount refers to it. It vanishes by one rename;
// sweep then deletes the data, which may take long. force: what the driver can't
// remove is forgotten all the same.
func (l *Locked) Remove(ctx context.Context, force bool) (sweep func() error, err error) {
	v, err := l.Volume()
	if err != nil {
		return nil, err
	}
	uses, err := l.Uses(ctx)
	if len(uses) > 0 {
		return nil, fail(ErrConflict, "remove %s: volume is in use - [%s]", l.Name, strings.Join(mountsOf(uses), ", "))
	}
	if err != nil && !force {
		return nil, err
	}
	if err := l.noSnapshots(ctx); err != nil {
		return nil, err
	}
	d, err := l.Driver()
	if err == nil {
		err = d.Remove(ctx)
	}
	// Forced, a driver that refuses is passed over, but never one that still has the data mounted.
	if err != nil && (!force || errors.Is(Judge(err), ErrConflict)) {
		return nil, Judge(fmt.Errorf("remove %s: %w", l.Name, err))
	}
	if err := nothingMounted(l.Dir()); err != nil {
		return nil, err
	}
	return l.vanish(v.Name)
}

// noSnapshots refuses a volume that has some: who keeps a snapshot doesn't want it to go by the way.
func (l *Locked) noSnapshots(ctx context.Context) error {
	if err := l.sweepSnapshots(ctx); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(l.Dir(), snapshotsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, l.Name+"@"+e.Name())
	}
	if err == nil && len(ids) > 0 {
		err = fail(ErrConflict, "remove %s: volume has snapshots - [%s]: remove them first: unionmount volume snapshot rm %s", l.Name, strings.Join(ids, ", "), strings.Join(ids, " "))
	}
	return err
}

// mountsOf names the mounts of uses, each once.
func mountsOf(uses []Use) (names []string) {
	for _, u := range uses {
		if len(names) == 0 || names[len(names)-1] != u.Mount {
			names = append(names, u.Mount)
		}
	}
	return names
}

func (l *Locked) vanish(name string) (sweep func() error, err error) {
	s := l.store
	gone, err := os.MkdirTemp(s.dir, gonePrefix)
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, err)
	}
	if err := os.Rename(l.Dir(), filepath.Join(gone, name)); err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, errors.Join(err, os.Remove(gone)))
	}
	return func() error {
		if err := errors.Join(RemoveTree(gone), syncDir(s.dir)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		return nil
	}, nil
}

// staleAfter is how old a staged volume must be before it is asked whether somebody
// holds it: between its making and its lock nobody does.
const staleAfter = time.Minute

// Clean deletes what interrupted commands left: volumes that were removed, and
// unfinished ones, with what their drivers made. Neither was ever, or is any more, a volume.
func (s *Store) Clean(ctx context.Context) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), gonePrefix):
			errs = append(errs, RemoveTree(path))
		case strings.HasPrefix(e.Name(), newPrefix):
			if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > staleAfter {
				errs = append(errs, sweepNew(ctx, path))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepNew removes a volume that was never finished. What a plugin made of it, or had
// already, stays: the next create of the name adopts it.
func sweepNew(ctx context.Context, dir string) error {
	v := driver.Volume{Name: filepath.Base(dir), Driver: driver.Local, Dir: dir}
	if o, err := readOptions(dir, v.Name); err == nil && (o.Driver == driver.Local || o.Driver == driver.Btrfs) {
		v.Driver, v.Options = o.Driver, o.Options
	}
	return sweepHeld(ctx, v)
}

// RemoveTree removes a tree of our own, also where a directory in it is closed to
// its owner. It refuses one with something mounted in it, which isn't ours.
func RemoveTree(path string) error {
	if err := nothingMounted(path); err != nil {
		return err
	}
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	openErr := filepath.WalkDir(path, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700) // before it is read, and again after that failed
		}
		return nil
	})
	return errors.Join(openErr, os.RemoveAll(path))
}

func nothingMounted(path string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	mounts, err := sys.ParseMounts(f)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		real = filepath.Dir(path)
	}
	real = filepath.Join(real, filepath.Base(path)) // itself: where a link leads is not removed
	for _, m := range mounts {
		if m.Target == real || strings.HasPrefix(m.Target, real+"/") {
			return fail(ErrConflict, "remove %s: something is mounted at %s: unmount it first", path, m.Target)
		}
	}
	return nil
}
