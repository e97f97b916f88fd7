package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
	"github.com/unionmount/unionmount/volumes/tree"
)

const restorePrefix = ".restore-" // in the volume's directory: what will be its data, or was

// Restore makes a volume that nobody uses hold what its snapshot holds; the snapshot
// stays. The data is exchanged in one step; where its root must stay (another file
// system is mounted there) it is exchanged name by name once all of it is there, and
// what a crash interrupts then is finished by the next who uses the volume.
func (s *Store) Restore(ctx context.Context, volume, name string, h How) (c Copied, err error) {
	if _, err := s.snapshot(volume, name); err != nil {
		return c, err
	}
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	from, err := s.snapshot(volume, name)
	if err != nil {
		return c, err
	}
	if err := errors.Join(l.unused(ctx, "restore", "unmount them first"), l.sweepSnapshots(ctx)); err != nil {
		return c, err
	}
	start := time.Now()
	a, err := l.attach(ctx, 0)
	if err != nil {
		return c, err
	}
	d := &Data{Path: a.data, locked: l}
	beside, err := d.besides()
	switch {
	case err != nil:
	case beside:
		c, err = l.exchange(ctx, &from, h)
	default:
		c.Result, err = d.restoreInside(ctx, &from, h)
		c.Method = method(c.Result)
	}
	c.PointInTime, c.Took = from.PointInTime, time.Since(start)
	if err = errors.Join(err, l.detach(ctx, a)); err != nil {
		err = Judge(fmt.Errorf("restore %s: %w", from.id(), err))
	}
	return c, err
}

// exchange stages the data beside the volume's and swaps the two.
func (l *Locked) exchange(ctx context.Context, from *Snapshot, h How) (c Copied, err error) {
	v, err := l.Volume()
	if err != nil {
		return c, err
	}
	stage := driver.Volume{Name: l.Name, Driver: v.Driver, Options: v.Options}
	if stage.Dir, err = os.MkdirTemp(l.Dir(), restorePrefix); err != nil {
		return c, err
	}
	defer func() { // of the new data if it failed, of the old if not
		d, openErr := driver.Open(stage)
		if openErr == nil {
			openErr = d.Remove(context.WithoutCancel(ctx))
		}
		err = errors.Join(err, openErr, RemoveTree(stage.Dir))
	}()
	inside := func(map[string]string) error { return nil } // all that is made is a directory or subvolume in the stage
	if c, err = from.into(ctx, stage, h, inside); err != nil {
		return c, err
	}
	for _, dir := range []string{stage.Dir, l.Dir()} {
		if err := syncDir(dir); err != nil {
			return c, err
		}
	}
	err = withDir(l.Dir(), func(dir int) error {
		return sys.RenameAt(dir, filepath.Base(stage.Dir)+"/"+driver.DataDir, dir, driver.DataDir, sys.RENAME_EXCHANGE)
	})
	if err != nil {
		return c, fmt.Errorf("exchange the data: %w", err)
	}
	return c, syncDir(l.Dir())
}

// into makes a volume, whose directory is staged, hold what the snapshot holds; record
// is told first by which options it is opened from then on, if by others.
func (s *Snapshot) into(ctx context.Context, to driver.Volume, h How, record func(map[string]string) error) (c Copied, err error) {
	if at, ok := shares(s.volume(), to); ok {
		held, err := s.hold(false)
		if err != nil {
			return c, err
		}
		m := at.Method()
		c.Method, c.Cost, c.PointInTime = m.Name, m.Cost, s.PointInTime
		return c, errors.Join(share(ctx, at, to, record), held.Close())
	}
	var r tree.Result
	err = s.read(ctx, func(data int) error {
		return fillNew(ctx, to, func(path string) (err error) {
			r, err = copyTree(ctx, data, path, false, h.Tell)
			return err
		})
	})
	return Copied{Result: r, Method: method(r), PointInTime: s.PointInTime}, err
}

// restoreInside replaces everything in the data whose root must stay.
func (d *Data) restoreInside(ctx context.Context, from *Snapshot, h How) (r tree.Result, err error) {
	s, err := d.begin()
	if err != nil {
		return r, err
	}
	err = from.read(ctx, func(data int) (err error) {
		r, err = copyTree(ctx, data, s.path(), false, h.Tell)
		return err
	})
	if err == nil {
		err = sys.SyncFSOf(s.path())
	}
	if err == nil {
		s.Step = stepReplace
		err = s.note()
	}
	if err != nil {
		return r, errors.Join(err, s.end())
	}
	return r, s.finish()
}
