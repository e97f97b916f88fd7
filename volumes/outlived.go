package volumes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// outlived parts the leases that nobody holds any more. kept are those of holders whose
// processes go on with the volume (Leaseless): unmounted under them, and mounted anew for
// the next, a file system in memory would be there twice, once empty.
func (s *Store) outlived(volume string, dead []string) (free, kept []string, err error) {
	if len(dead) == 0 || s.Leaseless == nil {
		return dead, nil, nil
	}
	holders, err := s.Leaseless(volume)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range dead {
		if slices.ContainsFunc(holders, func(h Holder) bool { return h.Mount == filepath.Base(path) }) {
			kept = append(kept, path)
		} else {
			free = append(free, path)
		}
	}
	return free, kept, nil
}

// Keep takes a lease under the name of a command on what a killed mount left mounted,
// so that it stays while that mount's lease ends and its next one begins. nil: nothing
// is mounted.
func (s *Store) Keep(ctx context.Context, name string, use Use) (lease *Lease, err error) {
	l, err := s.Lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	if err := nothingMounted(l.Dir()); !errors.Is(err, ErrConflict) {
		return nil, err
	}
	d, err := l.Driver()
	if err != nil {
		return nil, err
	}
	use.Since = time.Now()
	a, err := l.lease(ctx, d, filepath.Join(l.Dir(), leasesDir, use.Mount), []Use{use}, 1)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", name, err)
	}
	return &Lease{s, name, a.file}, nil
}
