package volumes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Local is the one driver there is so far: a plain directory.
const Local = "local"

// Volume is what inspect prints, with Docker's keys in Docker's types.
type Volume struct {
	CreatedAt  string
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
}

// options is the file beside _data; the directory is no volume without it.
type options struct {
	Version   int               `json:"version"`
	Driver    string            `json:"driver"`
	CreatedAt string            `json:"createdAt"`
	Labels    map[string]string `json:"labels,omitempty"`
	Options   map[string]string `json:"options,omitempty"`
}

const (
	optionsFile = "options.json"
	dataDir     = "_data"
	newPrefix   = ".new-"  // staged: not yet a volume
	gonePrefix  = ".gone-" // no volume any more
)

// Store is the directory of all volumes.
type Store struct{ dir string }

// At returns the store below root; nothing is made before the first volume.
func At(root string) *Store { return &Store{filepath.Join(root, "volumes")} }

// Create makes a volume, or returns the one that has the name (Docker: its
// labels stay as they are). It is staged and appears by one rename.
func (s *Store) Create(name, driver string, labels, opts map[string]string) (v Volume, made bool, err error) {
	if err := CheckName(name); err != nil {
		return v, false, err
	}
	if driver != Local {
		return v, false, fmt.Errorf("create %s: driver %q: %w", name, driver, ErrUnsupported)
	}
	if len(opts) > 0 {
		return v, false, fmt.Errorf("create %s: driver options: %w", name, ErrUnsupported)
	}
	if v, err = s.Get(name); err == nil || !errors.Is(err, ErrNotFound) {
		return v, false, err
	}
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return v, false, fmt.Errorf("create volume %s: %w", name, err)
	}
	staged, err := os.MkdirTemp(s.dir, newPrefix)
	if err != nil {
		return v, false, fmt.Errorf("create volume %s: %w", name, err)
	}
	defer os.RemoveAll(staged) // nothing is there once it was renamed
	o := options{Version: 1, Driver: driver, CreatedAt: time.Now().UTC().Format(time.RFC3339), Labels: labels, Options: opts}
	if err := stage(staged, o); err != nil {
		return v, false, fmt.Errorf("create volume %s: %w", name, err)
	}
	err = os.Rename(staged, filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return v, false, fmt.Errorf("create volume %s: %w", name, err)
	}
	made = err == nil
	if err := syncDir(s.dir); err != nil {
		return v, made, fmt.Errorf("create volume %s: %w", name, err)
	}
	v, err = s.Get(name)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("create volume %s: %s is in the way, which is no volume: remove it", name, filepath.Join(s.dir, name))
	}
	return v, made, err
}

func stage(dir string, o options) error {
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	data := filepath.Join(dir, dataDir)
	if err := errors.Join(os.Mkdir(data, 0o755), os.Chmod(data, 0o755)); err != nil { // whatever the umask
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, optionsFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o701); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get reads one volume.
func (s *Store) Get(name string) (Volume, error) {
	if err := CheckName(name); err != nil {
		return Volume{}, fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	dir := filepath.Join(s.dir, name)
	text, err := os.ReadFile(filepath.Join(dir, optionsFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, dataDir)); err != nil {
			return Volume{}, fmt.Errorf("get %s: %w", name, ErrNotFound)
		}
		text, err = []byte("{}"), nil // data without its options is a volume still
	}
	if err != nil {
		return Volume{}, fmt.Errorf("get %s: %w", name, err)
	}
	var o options
	if err := json.Unmarshal(text, &o); err != nil {
		return Volume{}, fmt.Errorf("get %s: %s: %w", name, filepath.Join(dir, optionsFile), err)
	}
	v := Volume{
		CreatedAt: o.CreatedAt, Driver: o.Driver, Labels: o.Labels, Options: o.Options,
		Mountpoint: filepath.Join(dir, dataDir), Name: name, Scope: "local",
	}
	if v.Driver == "" {
		v.Driver = Local
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if v.Options == nil {
		v.Options = map[string]string{}
	}
	return v, nil
}

// List reads all volumes, by name. One that can't be read is in the error and not in the list.
func (s *Store) List() (all []Volume, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		v, err := s.Get(e.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, errors.Join(errs...)
}

// Remove deletes a volume. The caller has made sure that no mount refers to it.
// It vanishes by one rename; sweep then deletes the data, which may take long.
func (s *Store) Remove(name string) (sweep func() error, err error) {
	if _, err := s.Get(name); err != nil {
		return nil, err
	}
	if err := nothingMounted(filepath.Join(s.dir, name)); err != nil {
		return nil, err
	}
	gone, err := os.MkdirTemp(s.dir, gonePrefix)
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, err)
	}
	if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(gone, name)); err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, errors.Join(err, os.Remove(gone)))
	}
	return func() error {
		if err := errors.Join(RemoveTree(gone), syncDir(s.dir)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		return nil
	}, nil
}

// Mountpoint is where the data of a volume of that name is or would be.
func (s *Store) Mountpoint(name string) string { return filepath.Join(s.dir, name, dataDir) }
