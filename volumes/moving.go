package volumes

import (
	"context"
	"errors"
	"io"

	"github.com/unionmount/unionmount/volumes/archive"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Export packs what a volume, or a snapshot (VOLUME@SNAP), holds. A volume in use is
// frozen first where its driver can; else the archive may be no point in time.
func (s *Store) Export(ctx context.Context, source string, to io.Writer, tell func(archive.Stats)) (st archive.Stats, pointInTime bool, err error) {
	volume, snap, err := ParseSnapshot(source)
	if err != nil {
		return st, false, err
	}
	pack := func(live bool) func(data int) error {
		return func(data int) (err error) {
			st, err = archive.Pack(ctx, to, data, archive.PackOptions{Live: live, Tell: tell})
			return err
		}
	}
	if snap != "" {
		one, err := s.snapshot(volume, snap)
		if err == nil {
			err = one.read(ctx, pack(false))
		}
		return st, one.PointInTime, err
	}
	if _, err := s.Get(volume); err != nil {
		return st, false, err
	}
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return st, false, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	d, err := l.Driver()
	if err != nil {
		return st, false, err
	}
	if _, ok := d.(driver.Snapshotter); !ok {
		pointInTime, err = l.reading(ctx, true, "export", pack(true))
		return st, pointInTime, err
	}
	return st, true, l.frozen(ctx, pack(false))
}

// frozen calls read with what the volume holds at one instant, by a snapshot that goes
// with it. The name is not locked meanwhile: mounts come and go. A copy's lease keeps
// the volume from being removed.
func (l *Locked) frozen(ctx context.Context, read func(data int) error) (err error) {
	staged, err := l.stageSnapshot(ctx, "export")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.drop()) }()
	others, err := l.holders(ctx)
	if err != nil {
		return err
	}
	a, err := l.attach(ctx, len(others))
	if err != nil {
		return err
	}
	if _, err := l.freeze(ctx, staged, How{}); err != nil {
		return errors.Join(Judge(err), l.detach(ctx, a))
	}
	return l.unlocked(ctx, a, func() error { return staged.reading(ctx, func() bool { return true }, read) })
}

// Import makes a volume of what an archive holds, or fills an empty one that nobody
// uses. Nothing of it is seen before all of it is there and the checksum was right.
func (s *Store) Import(ctx context.Context, name string, from io.Reader, o archive.UnpackOptions) (v Volume, made bool, st archive.Stats, err error) {
	unpack := func(path string) error {
		return withDir(path, func(dir int) (err error) {
			st, err = archive.Unpack(ctx, from, dir, o)
			return err
		})
	}
	if v, err = s.Get(name); errors.Is(err, ErrNotFound) {
		v, made, err = s.Create(ctx, New{Name: name, Make: func(ctx context.Context, to driver.Volume, _ func(map[string]string) error) error {
			return fillNew(ctx, to, unpack)
		}})
		if err != nil || made {
			return v, made, st, err
		}
	}
	if err != nil {
		return v, false, st, err
	}
	l, err := s.Lock(ctx, name)
	if err != nil {
		return v, false, st, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	if err := l.unused(ctx, "import", "unmount them first, or import into a new volume"); err != nil {
		return v, false, st, err
	}
	a, err := l.attach(ctx, 0)
	if err != nil {
		return v, false, st, err
	}
	filled, err := (&Data{Path: a.data, locked: l}).Fill(FillFunc(unpack))
	if err == nil && !filled {
		err = fail(ErrConflict, "import %s: the volume isn't empty: import into a new volume, or remove this one first", name)
	}
	return v, false, st, errors.Join(err, l.detach(ctx, a))
}
