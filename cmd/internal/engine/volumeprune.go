package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Pruned is what a prune deleted.
type Pruned struct {
	Volumes []string
	Bytes   int64
}

// VolumePrune is which volumes a prune deletes.
type VolumePrune struct {
	All bool // named ones too

	choose volumeFilter
}

// ParseVolumePrune reads the filters label=, label!= and all= (which is All). Others are
// refused: who is asked whether to go on shall know that it means something.
func ParseVolumePrune(all bool, filters []string) (q VolumePrune, err error) {
	for _, f := range filters {
		switch key, _, ok := strings.Cut(f, "="); {
		case !ok:
			return q, fail(ErrUsage, "filter "+f, "want KEY=VALUE")
		case key != "label" && key != "label!" && key != "all":
			return q, fail(ErrUsage, "filter "+f, "volume prune takes label, label! and all")
		}
	}
	q.choose, err = parseVolumeFilters(filters)
	q.All = all || q.choose.all
	return q, err
}

// wants tells whether a volume goes that no mount refers to: never one with driver
// options, whose data is elsewhere, nor one of another driver (Docker's
// daemon/volume/service, Prune).
func (q *VolumePrune) wants(v *volumes.Volume) bool {
	return v.Driver == driver.Local && len(v.Options) == 0 && (q.All || v.Anonymous()) && q.choose.keeps(v, false)
}

// PruneVolumes deletes the volumes that q wants and no mount refers to.
func (e *Engine) PruneVolumes(q VolumePrune) (p Pruned, err error) {
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
	for i := range found {
		v := &found[i]
		if !q.wants(v) {
			continue
		}
		size, err := e.pruneOne(v.Name, q.wants)
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
		e.dropList()
		sweep, err = e.removeLocked(ctx, l, false, "")
	}
	err = errors.Join(err, l.Unlock())
	if err == nil {
		err = sweep()
	}
	return size, blame("volume "+name, err)
}
