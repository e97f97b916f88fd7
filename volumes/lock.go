package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Locked is a name that this process alone makes, attaches, detaches, copies or
// removes until Unlock. The lock dies with its holder. Whoever needs the catalogue
// too takes it after this.
type Locked struct {
	Name string

	store *Store
	file  *os.File
}

// Lock waits for the lock of a name, whether there is such a volume or not.
func (s *Store) Lock(ctx context.Context, name string) (*Locked, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, locksDir, name)
	for {
		f, err := openLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock volume %s: %w", name, err)
		}
		err = sys.Flock(int(f.Fd()), true)
		if err == nil && isAt(f, path) {
			return &Locked{name, s, f}, nil
		}
		_ = f.Close()
		if err != nil && err != sys.EWOULDBLOK {
			return nil, fmt.Errorf("lock volume %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return nil, fail(ErrConflict, "volume %s is being made, attached or removed by another command: %w: try again", name, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	dir := filepath.Dir(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}

// isAt tells whether f is still the file at path: the last holder of a name without
// a volume removes it.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Unlock gives the name free. The file of a volume that is there stays: see overwrite.
func (l *Locked) Unlock() error {
	_, err := os.Lstat(l.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(l.file.Name())
	}
	return errors.Join(err, l.file.Close())
}

// Dir is the directory of the volume.
func (l *Locked) Dir() string { return filepath.Join(l.store.dir, l.Name) }

// Volume reads what the volume is. ErrNotFound: there is none.
func (l *Locked) Volume() (Volume, error) { return l.store.Get(l.Name) }

// Driver opens the volume's driver.
func (l *Locked) Driver() (driver.Driver, error) {
	v, err := l.Volume()
	if err != nil {
		return nil, err
	}
	d, err := driver.Open(driver.Volume{Name: v.Name, Driver: v.Driver, Dir: l.Dir(), Options: v.Options})
	return d, Judge(err)
}

// Inspect asks a volume's driver, which may not answer before ctx ends, what it
// says of it. It waits for no lock.
func (s *Store) Inspect(ctx context.Context, name string) (driver.State, error) {
	d, err := (&Locked{Name: name, store: s}).Driver()
	if err != nil {
		return driver.State{}, err
	}
	return d.Inspect(ctx)
}
