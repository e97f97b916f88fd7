package volumes

import (
	"context"
	"errors"
	"time"

	"github.com/unionmount/unionmount/volumes/driver"
	"github.com/unionmount/unionmount/volumes/tree"
)

// From makes n a volume that begins with what another volume, or a snapshot
// (VOLUME@SNAP), holds. Unless n names a driver or options, it has the source's where
// these can share its data, else it is a plain one. cost is told when it is made.
func (s *Store) From(n New, source string, h How, cost func(Copied)) (New, error) {
	volume, snap, err := ParseSnapshot(source)
	if err != nil {
		return n, err
	}
	from, err := s.source(volume, snap)
	if err != nil {
		return n, err
	}
	if n.Driver == "" && len(n.Options) == 0 {
		n.Driver = driver.Local
		d, err := driver.Open(from)
		if err != nil {
			return n, Judge(err)
		}
		if _, ok := d.(driver.Snapshotter); ok {
			n.Driver, n.Options = from.Driver, from.Options
		}
	}
	n.Make = func(ctx context.Context, to driver.Volume, record func(map[string]string) error) (err error) {
		start := time.Now()
		var c Copied
		if snap != "" {
			c, err = s.fromSnapshot(ctx, volume, snap, to, h, record)
		} else {
			c, err = s.fromVolume(ctx, volume, to, h, record)
		}
		if c.Took = time.Since(start); err == nil {
			cost(c)
		}
		return err
	}
	return n, nil
}

// source is a volume or snapshot as its driver sees it.
func (s *Store) source(volume, snap string) (driver.Volume, error) {
	if snap != "" {
		one, err := s.snapshot(volume, snap)
		return one.volume(), err
	}
	v, err := s.Get(volume)
	return driver.Volume{Name: volume, Driver: v.Driver, Options: v.Options}, err
}

func (s *Store) fromSnapshot(ctx context.Context, volume, snap string, to driver.Volume, h How, record func(map[string]string) error) (c Copied, err error) {
	one, err := s.snapshot(volume, snap)
	if err != nil {
		return c, err
	}
	c, err = one.into(ctx, to, h, record)
	if errors.Is(err, driver.ErrUnsupported) {
		err = fail(ErrUnsupported, "%w: -d local copies it", err)
	}
	return c, err
}

func (s *Store) fromVolume(ctx context.Context, volume string, to driver.Volume, h How, record func(map[string]string) error) (c Copied, err error) {
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	v, err := l.Volume()
	if err != nil {
		return c, err
	}
	if at, ok := shares(driver.Volume{Name: volume, Driver: v.Driver, Dir: l.Dir(), Options: v.Options}, to); ok {
		m := at.Method()
		return Copied{Method: m.Name, Cost: m.Cost, PointInTime: true}, share(ctx, at, to, record)
	}
	var r tree.Result
	still, err := l.reading(ctx, h.Live, "copy of", func(data int) error {
		return fillNew(ctx, to, func(path string) (err error) {
			r, err = copyTree(ctx, data, path, h.Live, h.Tell)
			return err
		})
	})
	return Copied{Result: r, Method: method(r), PointInTime: still}, err
}
