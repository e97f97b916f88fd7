package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Pruned is what a prune deleted.
type Pruned struct {
	Volumes []string
	Bytes   int64
}

// PruneVolumes deletes the anonymous volumes that no mount refers to; all: named
// ones too. It never takes one with driver options, whose data is elsewhere, nor one
// of another driver (daemon/volume/service, Prune). Filters: label=, label!=, all=.
func (e *Engine) PruneVolumes(all bool, filters []string) (p Pruned, err error) {
	choose, err := parseVolumeFilters(filters)
	if err != nil {
		return p, err
	}
	if choose.names != nil || choose.drivers != nil || choose.dangling != nil {
		return p, fail(ErrUsage, "volume prune", "it takes the filters label and label!")
	}
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	lock, err := os.OpenFile(filepath.Join(e.Root, "prune.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return p, err
	}
	defer lock.Close()
	if err := sys.Flock(int(lock.Fd()), true); err == sys.EWOULDBLOK {
		return p, fail(ErrConflict, "volume prune", "a prune operation is already running")
	} else if err != nil {
		return p, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	found, broken, err := e.allVolumes(false)
	if err != nil {
		return p, err
	}
	ctx, cancel := patiently()
	defer cancel()
	errs := []error{broken, e.volumes().Clean(ctx)}
	var gone []string
	wanted := func(v *volumes.Volume) bool {
		return v.Driver == driver.Local && len(v.Options) == 0 && (all || choose.all || v.Anonymous()) && choose.keeps(v, false)
	}
	for i := range found {
		v := &found[i]
		if !wanted(v) {
			continue
		}
		size, err := e.pruneOne(v.Name, wanted)
		if errors.Is(err, ErrConflict) || errors.Is(err, volumes.ErrConflict) || errors.Is(err, volumes.ErrNotFound) {
			continue // in use, or removed since
		}
		if errs = append(errs, err); err == nil {
			p.Volumes = append(p.Volumes, v.Name)
			p.Bytes += size
		}
		gone = append(gone, v.Name)
	}
	errs = append(errs, e.indexVolumes(gone...))
	e.note(TypeVolume, "prune", "", map[string]string{"reclaimed": fmt.Sprint(p.Bytes)})
	return p, errors.Join(errs...)
}

// pruneOne removes one volume, if it is wanted still, and tells what that gave back.
func (e *Engine) pruneOne(name string, wanted func(*volumes.Volume) bool) (size int64, err error) {
	ctx, cancel := patiently()
	defer cancel()
	l, err := e.volumes().Lock(ctx, name)
	if err != nil {
		return 0, blame("volume "+name, err)
	}
	v, err := l.Volume() // its file, not the list: and nobody can make it another one now
	if err == nil && !wanted(&v) {
		err = volumes.ErrNotFound
	}
	var sweep func() error
	if err == nil {
		size, err = e.volumes().Size(name)
	}
	if err == nil {
		sweep, err = e.removeLocked(ctx, l, false, "")
	}
	err = errors.Join(err, l.Unlock())
	if err == nil {
		err = sweep()
	}
	return size, blame("volume "+name, err)
}
