package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/volumes/driver"
)

// snapshotsDir is, in a volume's directory, a store of its own: a snapshot is a
// volume there, staged and published as any other.
const snapshotsDir = "snapshots"

// Origin is what a volume is copied from: a volume, or one of its snapshots.
type Origin struct{ Volume, Snapshot string }

// ParseOrigin reads VOLUME or VOLUME@SNAP.
func ParseOrigin(s string) (Origin, error) {
	v, snap, at := strings.Cut(s, "@")
	err := CheckName(v)
	if at {
		err = errors.Join(err, CheckName(snap))
	}
	return Origin{v, snap}, err
}

func (s *Store) snapshots(volume string) *Store {
	return &Store{filepath.Join(s.dir, volume, snapshotsDir)}
}

// Snapshots lists a volume's snapshots by name. ErrNotFound: no such volume.
func (s *Store) Snapshots(volume string) ([]Volume, error) {
	if _, err := s.Get(volume); err != nil {
		return nil, err
	}
	return s.snapshots(volume).List()
}

// Snapshot keeps what a volume holds now. live: copy it also while it is attached,
// which is no point in time; a driver that freezes needs no leave.
func (s *Store) Snapshot(ctx context.Context, volume, name string, live bool) (driver.Method, error) {
	return s.copy(ctx, Origin{Volume: volume}, s.snapshots(volume), New{Name: name}, live)
}

// Clone makes the volume n with the data of from. ErrConflict: the name is taken.
func (s *Store) Clone(ctx context.Context, from Origin, n New) (driver.Method, error) {
	return s.copy(ctx, from, s, n, false)
}

// copy holds the lock of the origin's volume: nobody attaches it meanwhile.
func (s *Store) copy(ctx context.Context, from Origin, to *Store, n New, live bool) (m driver.Method, err error) {
	if _, err := s.Get(from.Volume); err != nil {
		return m, err
	}
	if to == s && n.Name == from.Volume {
		return m, fail(ErrConflict, "create %s: it can't be a copy of itself", n.Name)
	}
	l, err := s.Lock(ctx, from.Volume)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	source := l
	if from.Snapshot != "" {
		source = &Locked{Name: from.Snapshot, store: s.snapshots(from.Volume)}
	}
	v, err := source.Volume()
	if err != nil {
		return m, err
	}
	d, err := source.Driver()
	if err != nil {
		return m, err
	}
	if freezer, ok := d.(driver.Snapshotter); ok {
		m, n.Driver, n.Options = freezer.Method(), v.Driver, v.Options
		n.Make = func(ctx context.Context, staged driver.Volume) (map[string]string, error) {
			return freezer.Snapshot(ctx, staged, to != s)
		}
	} else if m, err = source.copyPlain(ctx, d, &n, live); err != nil {
		return m, err
	}
	_, made, err := to.Create(ctx, n)
	if err == nil && !made {
		err = fail(ErrConflict, "create %s: the name is taken: remove that one first or choose another", n.Name)
	}
	return m, err
}

// copyPlain lets n be made as a plain directory, by copying the tree.
func (l *Locked) copyPlain(ctx context.Context, d driver.Driver, n *New, live bool) (m driver.Method, err error) {
	uses, err := l.Uses(ctx)
	if err != nil {
		return m, err
	}
	if len(uses) > 0 && !live {
		return m, fail(ErrConflict, "copy %s: volume is in use - [%s]: unmount them, or give --live for a copy that is no point in time", l.Name, strings.Join(mountsOf(uses), ", "))
	}
	m = driver.Method{Name: "copy", Cost: "extents are shared where the file system can, else all data is copied"}
	if len(uses) > 0 {
		m.Name = "live copy, no point in time"
	}
	n.Driver, n.Options = driver.Local, nil
	n.Make = func(ctx context.Context, staged driver.Volume) (options map[string]string, err error) {
		id := holder(staged.Dir)
		data, err := d.Mount(ctx, id)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, d.Unmount(context.WithoutCancel(ctx), id, len(uses) == 0)) }()
		to := filepath.Join(staged.Dir, driver.DataDir)
		c := exec.CommandContext(ctx, "cp", "-dRT", "--preserve=all", "--reflink=auto", "--", data, to)
		c.Env = append(os.Environ(), "LC_ALL=C")
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cp: %w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil, syncAll(to)
	}
	return m, nil
}

// RemoveSnapshot deletes a snapshot.
func (s *Store) RemoveSnapshot(ctx context.Context, from Origin) (err error) {
	if _, err := s.Get(from.Volume); err != nil {
		return err
	}
	if _, err := s.snapshots(from.Volume).Get(from.Snapshot); err != nil {
		return err
	}
	l, err := s.Lock(ctx, from.Volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	snap := &Locked{Name: from.Snapshot, store: s.snapshots(from.Volume)}
	sweep, err := snap.Remove(ctx, false)
	if err != nil {
		return err
	}
	return sweep()
}
