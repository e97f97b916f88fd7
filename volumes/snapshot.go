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

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Snapshot is what a volume held at one time, beside it:
//
//	NAME/snapshots/SNAP/snapshot.json    what it is; written before the name appears
//	NAME/snapshots/SNAP/_data            its data, or where its driver mounts it
type Snapshot struct {
	Volume      string
	Name        string
	CreatedAt   string // RFC 3339
	Method      string
	PointInTime bool // else the volume was in use while it was copied
	Driver      string
	Options     map[string]string

	dir string
}

// snapshotMeta is the file beside a snapshot's data.
type snapshotMeta struct {
	Version     int               `json:"version"`
	CreatedAt   string            `json:"createdAt"`
	Method      string            `json:"method"`
	PointInTime bool              `json:"pointInTime"`
	Driver      string            `json:"driver"`
	Options     map[string]string `json:"options,omitempty"`
}

const (
	snapshotsDir = "snapshots"
	snapshotFile = "snapshot.json"
)

// ParseSnapshot reads VOLUME@SNAP; with no @ it is a volume, and snap is "".
func ParseSnapshot(s string) (volume, snap string, err error) {
	volume, snap, of := strings.Cut(s, "@")
	if err := CheckName(volume); err != nil {
		return "", "", err
	}
	if of {
		err = checkSnapshotName(snap)
	}
	return volume, snap, err
}

// checkSnapshotName: a snapshot's name has a volume's form.
func checkSnapshotName(name string) error {
	if CheckName(name) != nil {
		return fail(ErrBadSpec, "snapshot name %q: want two characters or more of [a-zA-Z0-9_.-], a letter or digit first", name)
	}
	return nil
}

// Snapshots lists a volume's snapshots, the oldest first. One that can't be read is in the error and not in the list.
func (s *Store) Snapshots(volume string) (all []Snapshot, err error) {
	if _, err := s.Get(volume); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, volume, snapshotsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue // staged, or on its way out
		}
		switch one, err := s.snapshot(volume, e.Name()); {
		case err == nil:
			all = append(all, one)
		case !errors.Is(err, ErrNotFound): // removed since
			errs = append(errs, err)
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].CreatedAt < all[j].CreatedAt })
	return all, errors.Join(errs...)
}

// snapshot reads one.
func (s *Store) snapshot(volume, name string) (Snapshot, error) {
	one := Snapshot{Volume: volume, Name: name, dir: filepath.Join(s.dir, volume, snapshotsDir, name)}
	if err := checkSnapshotName(name); err != nil {
		return one, err
	}
	if _, err := s.Get(volume); err != nil {
		return one, err
	}
	m, err := readSnapshot(one.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return one, fail(ErrNotFound, "get %s: no such snapshot: unionmount volume snapshot ls %s tells which there are", one.id(), volume)
	}
	if err != nil {
		return one, fmt.Errorf("get %s: %w", one.id(), err)
	}
	one.CreatedAt, one.Method, one.PointInTime, one.Driver, one.Options = m.CreatedAt, m.Method, m.PointInTime, m.Driver, m.Options
	return one, nil
}

// readSnapshot reads what a directory says of its snapshot.
func readSnapshot(dir string) (m snapshotMeta, err error) {
	path := filepath.Join(dir, snapshotFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if m.Version > version {
		return m, fail(ErrUnsupported, "%s is of version %d: use the unionmount that wrote it", path, m.Version)
	}
	return m, nil
}

func (s *Snapshot) id() string { return s.Volume + "@" + s.Name }

// volume is the snapshot as its driver sees it.
func (s *Snapshot) volume() driver.Volume {
	return driver.Volume{Name: s.id(), Driver: s.Driver, Dir: s.dir, Options: s.Options}
}

// write writes down what the snapshot is, synced.
func (s *Snapshot) write() error {
	s.CreatedAt = time.Now().UTC().Format(time.RFC3339Nano)
	m := snapshotMeta{version, s.CreatedAt, s.Method, s.PointInTime, s.Driver, s.Options}
	if err := writeJSON(filepath.Join(s.dir, snapshotFile), os.O_EXCL, m); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// hold locks the directory of a snapshot: shared while it is read, exclusively while
// it is staged or removed. ErrConflict if that can't be.
func (s *Snapshot) hold(exclusive bool) (*os.File, error) {
	f, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	switch err := sys.Flock(int(f.Fd()), exclusive); {
	case err == sys.EWOULDBLOK:
		return nil, errors.Join(fail(ErrConflict, "snapshot %s is being copied or removed: try again after that", s.id()), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", s.dir, err), f.Close())
	}
	return f, nil
}
