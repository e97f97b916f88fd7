package volumes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes/driver"
)

// Resume is Attach for a holder whose process ended without a Release: what a
// built-in driver has mounted for it stays mounted, and is the same to those who
// use it still. A plugin counts: it is told of the end and the new beginning.
func (s *Store) Resume(ctx context.Context, name string, uses []Use) (lease *Lease, data string, err error) {
	v, err := s.Get(name)
	if err != nil {
		return nil, "", err
	}
	if !driver.BuiltIn(v.Driver) {
		return s.Attach(ctx, name, uses, func(*Data) error { return nil })
	}
	l, err := s.Lock(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	d, err := l.Driver()
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(l.Dir(), leasesDir, uses[0].Mount)
	if data, err = d.Mount(ctx, holder(path)); err != nil {
		return nil, "", Judge(fmt.Errorf("error while mounting volume %s: %w", name, err))
	}
	if _, err := makeLeases(path); err != nil {
		return nil, "", fmt.Errorf("attach %s: %w", name, err)
	}
	f, err := takeLease(path, uses)
	if err != nil {
		return nil, "", fmt.Errorf("attach %s: %w", name, err)
	}
	return &Lease{s, name, f}, data, nil
}
