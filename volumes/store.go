package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

const (
	newPrefix  = ".new-"  // staged: not yet a volume
	gonePrefix = ".gone-" // no volume any more
	locksDir   = ".locks"
)

// Store is the directory of all volumes.
type Store struct {
	dir string

	// Leaseless, if not nil, names who may be writing to a volume though no lease says
	// so any more: processes outlive the daemon or server that was killed.
	Leaseless func(volume string) ([]Holder, error)
}

// Holder is one who has a volume, as a refusal names him.
type Holder struct{ Mount, Why string }

// At returns the store below root; nothing is made before the first volume.
func At(root string) *Store { return &Store{dir: filepath.Join(root, "volumes")} }

// New is a volume to be made.
type New struct {
	Name    string
	Driver  string // "": local, or whatever the volume of that name has
	Labels  map[string]string
	Options map[string]string

	// Make, if not nil, makes the data in the driver's place (a clone, an archive).
	// If the volume is opened by other options from then on, record must be told
	// before anything is made: what a kill leaves is found by them.
	Make func(ctx context.Context, to driver.Volume, record func(options map[string]string) error) error
}

// Create makes a volume, or returns the one that has the name: its labels and
// options stay as they are, as in Docker. ErrConflict if that one has another driver.
// It is staged and appears by one rename.
func (s *Store) Create(ctx context.Context, n New) (v Volume, made bool, err error) {
	if err := CheckName(n.Name); err != nil {
		return v, false, err
	}
	if v, err = s.existing(n); err == nil || !errors.Is(err, ErrNotFound) {
		return v, false, err
	}
	l, err := s.Lock(ctx, n.Name)
	if err != nil {
		return v, false, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	if v, err = s.existing(n); err == nil || !errors.Is(err, ErrNotFound) {
		return v, false, err
	}
	if err := l.create(ctx, n); err != nil {
		return v, false, Judge(fmt.Errorf("create %s: %w", n.Name, err))
	}
	v, err = s.Get(n.Name)
	return v, true, err
}

func (s *Store) existing(n New) (Volume, error) {
	v, err := s.Get(n.Name)
	if err == nil && n.Driver != "" && n.Driver != v.Driver {
		err = fail(ErrConflict, "create %s: volume name must be unique: driver %q already has volume %q", n.Name, v.Driver, n.Name)
	}
	return v, err
}

// create makes a volume whose name is free. What it began is gone if it fails.
func (l *Locked) create(ctx context.Context, n New) (err error) {
	if _, err := os.Lstat(l.Dir()); err == nil {
		return fail(ErrConflict, "%s is in the way, which is no volume: remove it", l.Dir())
	}
	o := options{Version: version, Driver: n.Driver, CreatedAt: time.Now().UTC().Format(time.RFC3339), Labels: n.Labels, Options: n.Options}
	if o.Driver == "" {
		o.Driver = driver.Local
	}
	v := driver.Volume{Name: n.Name, Driver: o.Driver, Options: o.Options}
	if _, err := driver.Open(v); err != nil { // before anything is made
		return err
	}
	if v.Dir, err = os.MkdirTemp(l.store.dir, newPrefix); err != nil {
		return err
	}
	making, err := os.Open(v.Dir)
	if err != nil {
		return errors.Join(err, os.Remove(v.Dir))
	}
	defer making.Close()
	if err := sys.Flock(int(making.Fd()), true); err != nil { // Clean leaves it alone
		return errors.Join(err, os.Remove(v.Dir))
	}
	recorded, made, err := l.make(ctx, n, v, &o)
	if err == nil && !recorded {
		err = writeOptions(v.Dir, o)
	}
	if err == nil {
		err = errors.Join(os.Chmod(v.Dir, 0o701), syncDir(v.Dir))
	}
	if err == nil {
		err = os.Rename(v.Dir, l.Dir())
	}
	if err == nil {
		return syncDir(l.store.dir)
	}
	if made { // else who failed cleared up, or a plugin had it
		v.Options = o.Options
		d, openErr := driver.Open(v)
		if openErr == nil {
			openErr = d.Remove(context.WithoutCancel(ctx))
		}
		err = errors.Join(err, openErr)
	}
	return errors.Join(err, RemoveTree(v.Dir))
}

// make makes the data of a staged volume, and tells whether its options are written
// down, and whether there is anything that the driver must remove if it isn't published.
func (l *Locked) make(ctx context.Context, n New, v driver.Volume, o *options) (recorded, made bool, err error) {
	if n.Make == nil {
		d, err := driver.Open(v)
		if err == nil {
			err = d.Create(ctx)
		}
		if errors.Is(err, driver.ErrExists) {
			return false, false, nil // adopted
		}
		return false, err == nil, err
	}
	err = n.Make(ctx, v, func(options map[string]string) error {
		o.Options, recorded = options, true
		return errors.Join(writeOptions(v.Dir, *o), syncDir(v.Dir))
	})
	return recorded, recorded || err == nil, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get reads one volume; no driver is asked.
func (s *Store) Get(name string) (Volume, error) {
	if err := CheckName(name); err != nil {
		return Volume{}, fail(ErrNotFound, "get %s: no such volume", name)
	}
	dir := filepath.Join(s.dir, name)
	o, err := readOptions(dir, name)
	if err != nil {
		return Volume{}, err
	}
	return o.volume(dir, name), nil
}

// Names lists the names of all volumes, sorted. What isn't a volume's name is left out.
func (s *Store) Names() (names []string, err error) {
	err = s.EachName(func(name string) { names = append(names, name) })
	sort.Strings(names)
	return names, err
}

// EachName calls visit for the name of each volume, in no order: to sort many takes as long as to read them.
func (s *Store) EachName(visit func(name string)) error {
	fd, err := sys.Open(s.dir, sys.O_RDONLY|sys.O_DIRECTORY)
	if err == sys.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.dir, err)
	}
	err = sys.ReadDir(fd, func(e sys.Dirent) error {
		if e.Name[0] != '.' && CheckName(e.Name) == nil {
			visit(e.Name)
		}
		return nil
	})
	return errors.Join(err, sys.Close(fd))
}

// List reads all volumes from their directories, by name. One that can't be read is in the error and not in the list.
func (s *Store) List() (all []Volume, err error) {
	names, err := s.Names()
	errs := []error{err}
	for _, n := range names {
		v, err := s.Get(n)
		if errors.Is(err, ErrNotFound) {
			continue // no volume, or removed since
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, v)
	}
	return all, errors.Join(errs...)
}

// Mountpoint is where the data of a volume of that name is or would be, if its driver has no place of its own.
func (s *Store) Mountpoint(name string) string { return filepath.Join(s.dir, name, driver.DataDir) }
