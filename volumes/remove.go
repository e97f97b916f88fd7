package volumes

import (
	"context"
	"crypto/rand"
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
// has made sure that no stopped mount refers to it. It vanishes by one rename, with its
// data: what a kill leaves undone after that is no volume, and Clean ends it. sweep then
// deletes the data, which may take long. force: what the driver can't remove is forgotten
// all the same.
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
	if err := l.giveUp(ctx, v, force); err != nil {
		return nil, err
	}
	if err := nothingMounted(l.Dir()); err != nil {
		return nil, err
	}
	return l.vanish(ctx, v, force)
}

// giveUp has the driver do what comes before the name goes. A plugin's volume is no
// directory here that would wait for the plugin under another name: once the name is free,
// it may be another volume's. The built-in drivers' data goes after the name.
func (l *Locked) giveUp(ctx context.Context, v Volume, force bool) error {
	d, err := l.Driver()
	switch {
	case err != nil:
	case driver.BuiltIn(v.Driver):
		err = d.Unmount(ctx, "", true)
	default:
		err = d.Remove(ctx)
	}
	return l.refusal(err, force)
}

// refusal is what a driver's error comes to. Forced, one that refuses is passed over, but
// never one that still has the data mounted.
func (l *Locked) refusal(err error, force bool) error {
	if err == nil || force && !errors.Is(Judge(err), ErrConflict) {
		return nil
	}
	return Judge(fmt.Errorf("remove %s: %w", l.Name, err))
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

// vanish hides the volume and has its driver remove what it made. What the driver refuses
// is shown again, whole. The hidden directory is held, so that Clean leaves it alone.
func (l *Locked) vanish(ctx context.Context, v Volume, force bool) (sweep func() error, err error) {
	held, err := os.Open(l.Dir())
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", l.Name, err)
	}
	gone := filepath.Join(l.store.dir, gonePrefix+rand.Text())
	if err = sys.Flock(int(held.Fd()), true); err == nil {
		err = os.Rename(l.Dir(), gone)
	}
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", l.Name, errors.Join(err, held.Close()))
	}
	// Else a power loss could bring back the name without the data.
	if err = syncDir(l.store.dir); err == nil && driver.BuiltIn(v.Driver) {
		err = l.refusal(removeMade(ctx, v, gone), force)
	}
	if err != nil {
		return nil, errors.Join(err, os.Rename(gone, l.Dir()), held.Close())
	}
	return func() error {
		if err := errors.Join(RemoveTree(gone), held.Close()); err != nil {
			return fmt.Errorf("remove %s: %w", l.Name, err)
		}
		return nil
	}, nil
}

// removeMade has the driver remove what it made of a volume whose directory is hidden at dir.
func removeMade(ctx context.Context, v Volume, dir string) error {
	d, err := driver.Open(driver.Volume{Name: v.Name, Driver: v.Driver, Dir: dir, Options: v.Options})
	if err != nil {
		return err
	}
	return d.Remove(ctx)
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
			errs = append(errs, sweepUnlisted(ctx, path))
		case strings.HasPrefix(e.Name(), newPrefix):
			if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > staleAfter {
				errs = append(errs, sweepUnlisted(ctx, path))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepUnlisted removes a volume that was never finished, or that somebody began to remove.
// What a plugin made of it, or had already, stays: the next create of the name adopts it.
func sweepUnlisted(ctx context.Context, dir string) error {
	v := driver.Volume{Name: filepath.Base(dir), Driver: driver.Local, Dir: dir}
	if o, err := readOptions(dir, v.Name); err == nil && driver.BuiltIn(o.Driver) {
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
