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
	"github.com/unionmount/unionmount/volumes/tree"
)

// Snapshot keeps what a volume holds now under a name: at one instant, where the
// driver can, also while the volume is in use; else as a copy of a volume that nobody
// uses, or, with How.Live, of a volume that changes meanwhile. It is staged and
// appears by one rename.
func (s *Store) Snapshot(ctx context.Context, volume, name string, h How) (c Copied, err error) {
	if err := checkSnapshotName(name); err != nil {
		return c, err
	}
	if _, err := s.Get(volume); err != nil {
		return c, err
	}
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	final := Snapshot{Volume: volume, Name: name, dir: filepath.Join(l.Dir(), snapshotsDir, name)}
	if _, err := os.Lstat(final.dir); err == nil {
		return c, final.taken()
	}
	staged, err := l.stageSnapshot(ctx, name)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, staged.drop()) }()
	if c, err = l.freeze(ctx, staged, h); err != nil {
		return c, Judge(fmt.Errorf("create snapshot %s: %w", final.id(), err))
	}
	return c, staged.publish(final.dir)
}

func (s *Snapshot) taken() error {
	return fail(ErrConflict, "create snapshot %s: there is one of that name: unionmount volume snapshot rm %s", s.id(), s.id())
}

// stagedSnapshot is one that nobody sees, locked against being swept.
type stagedSnapshot struct {
	Snapshot
	lock  *os.File
	clean func() error // gives up what a driver made; nil: nothing was made, or it is published
}

func (l *Locked) stageSnapshot(ctx context.Context, name string) (*stagedSnapshot, error) {
	if err := l.sweepSnapshots(ctx); err != nil { // ErrNotFound: the volume was removed before the lock was had
		return nil, err
	}
	all := filepath.Join(l.Dir(), snapshotsDir)
	if err := os.Mkdir(all, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := os.MkdirTemp(all, newPrefix)
	if err != nil {
		return nil, err
	}
	s := &stagedSnapshot{Snapshot: Snapshot{Volume: l.Name, Name: name, dir: dir}}
	if s.lock, err = s.hold(true); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return s, nil
}

func (s *stagedSnapshot) publish(final string) error {
	err := os.Rename(s.dir, final)
	if errors.Is(err, fs.ErrExist) {
		return s.taken() // by another command, while a live copy let go of the volume
	}
	if err != nil {
		return err
	}
	s.dir, s.clean = "", nil
	return syncDir(filepath.Dir(final))
}

// drop removes what was not published.
func (s *stagedSnapshot) drop() error {
	var errs []error
	if s.clean != nil {
		errs = append(errs, s.clean())
	}
	if s.dir != "" {
		errs = append(errs, RemoveTree(s.dir))
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// freeze makes the staged snapshot hold what the volume holds, and writes down what it is.
func (l *Locked) freeze(ctx context.Context, s *stagedSnapshot, h How) (c Copied, err error) {
	start := time.Now()
	defer func() { c.Took = time.Since(start) }()
	v, err := l.Volume()
	if err != nil {
		return c, err
	}
	d, err := l.Driver()
	if err != nil {
		return c, err
	}
	if at, ok := d.(driver.Snapshotter); ok {
		m := at.Method()
		c.Method, c.Cost, c.PointInTime = m.Name, m.Cost, true
		return c, s.share(ctx, at, v, c)
	}
	s.Driver = driver.Local
	return l.freezeCopy(ctx, s, h)
}

// share has the volume's driver make the snapshot. What it is is written down first: by
// that a sweep finds what a kill leaves.
func (s *stagedSnapshot) share(ctx context.Context, at driver.Snapshotter, v Volume, c Copied) (err error) {
	s.Driver, s.Options, s.Method, s.PointInTime = v.Driver, v.Options, c.Method, c.PointInTime
	if s.Options, err = at.Plan(ctx, s.volume(), true); err != nil {
		return err
	}
	made, err := driver.Open(s.volume())
	if err != nil {
		return err
	}
	if err := s.write(); err != nil {
		return err
	}
	if err := at.Snapshot(ctx, s.volume(), true); err != nil {
		return err
	}
	s.clean = func() error { return made.Remove(context.WithoutCancel(ctx)) }
	return nil
}

func (l *Locked) freezeCopy(ctx context.Context, s *stagedSnapshot, h How) (c Copied, err error) {
	var r tree.Result
	still, err := l.reading(ctx, h.Live, "snapshot of", func(data int) error {
		return fillNew(ctx, s.volume(), func(to string) (err error) {
			r, err = copyTree(ctx, data, to, h.Live, h.Tell)
			return err
		})
	})
	s.Method, s.PointInTime = method(r), still
	if err == nil {
		err = s.write()
	}
	return Copied{Result: r, Method: s.Method, PointInTime: still}, err
}

// RemoveSnapshot deletes a snapshot. It vanishes by one rename, before anything of it
// goes: killed at any instant it leaves a snapshot that is whole, or none.
func (s *Store) RemoveSnapshot(ctx context.Context, volume, name string) (err error) {
	if _, err := s.snapshot(volume, name); errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadSpec) {
		return err
	}
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	one, err := s.snapshot(volume, name)
	if err != nil {
		return err
	}
	held, err := one.hold(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if err := one.vanish(ctx); err != nil {
		return Judge(fmt.Errorf("remove snapshot %s: %w", one.id(), err))
	}
	return nil
}

// vanish hides a held snapshot, has its driver remove what it made, and removes the rest.
// What the driver refuses is shown again: nothing of it is gone.
func (s *Snapshot) vanish(ctx context.Context) error {
	final, all := s.dir, filepath.Dir(s.dir)
	gone := filepath.Join(all, gonePrefix+rand.Text()) // the snapshot itself, for a sweep to read what it is
	if err := os.Rename(final, gone); err != nil {
		return err
	}
	s.dir = gone
	err := syncDir(all)
	if err == nil {
		err = s.remove(ctx)
	}
	if err != nil {
		return errors.Join(err, os.Rename(gone, final))
	}
	return RemoveTree(gone)
}

// remove has the driver remove what it made.
func (s *Snapshot) remove(ctx context.Context) error {
	d, err := driver.Open(s.volume())
	if err != nil {
		return err
	}
	return d.Remove(ctx)
}

// sweepSnapshots removes what commands that were killed left: unfinished and removed
// snapshots, and data that a restore took out.
func (l *Locked) sweepSnapshots(ctx context.Context) error {
	v, err := l.Volume()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range []string{filepath.Join(l.Dir(), snapshotsDir), l.Dir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), gonePrefix) || strings.HasPrefix(e.Name(), restorePrefix) {
				errs = append(errs, sweepStaged(ctx, v.Driver, filepath.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepStaged removes a staged directory that nobody holds, and what the driver of a
// snapshot made for it. A btrfs subvolume is found without options; those of the volume
// might name what isn't staged.
func sweepStaged(ctx context.Context, by, dir string) error {
	v := driver.Volume{Name: filepath.Base(dir), Driver: driver.Local, Dir: dir}
	if by == driver.Btrfs {
		v.Driver = by
	}
	if m, err := readSnapshot(dir); err == nil { // else it was killed before anything was made
		v.Driver, v.Options = m.Driver, m.Options
	}
	return sweepHeld(ctx, v)
}

// sweepHeld removes what is staged in a volume's directory, and what its driver made,
// unless somebody holds it: it is being made, by a live copy or another command.
func sweepHeld(ctx context.Context, v driver.Volume) error {
	f, err := os.Open(v.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // finished, or swept, meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sys.Flock(int(f.Fd()), true); err != nil {
		return nil
	}
	err = driver.Sweep(ctx, v.Dir)
	d, openErr := driver.Open(v)
	if err == nil && openErr == nil {
		err = d.Remove(ctx)
	}
	if err = errors.Join(err, openErr); err != nil {
		return Judge(fmt.Errorf("remove what a killed command left at %s: %w", v.Dir, err))
	}
	return RemoveTree(v.Dir)
}
