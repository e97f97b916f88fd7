package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

// VolumeRef is a volume as a mount refers to it.
type VolumeRef struct {
	Name      string // "" for a host path or a tmpfs
	Driver    string
	Source    string // host path of what appears at Target; "" while only a plugin knows, and for a tmpfs
	Target    string
	ReadOnly  bool
	NoCopy    bool           `json:",omitempty"`
	Anonymous bool           `json:",omitempty"` // made for this mount, goes with rm -v and --rm
	Subpath   string         `json:",omitempty"` // of the volume's data; Source includes it
	Tmpfs     *volumes.Tmpfs `json:",omitempty"`

	asked volumes.Spec // what the command line said; not kept: options may hold passwords
}

// DriverTmpfs is how inspect calls the driver of a tmpfs that goes with its mount.
const DriverTmpfs = "tmpfs"

// resolveVolumes reads what -v and --mount ask for, and what other mounts have.
func (e *Engine) resolveVolumes(r *Record, q Request) error {
	var own []VolumeRef
	taken := make(map[string]bool)
	add := func(what string, spec volumes.Spec, err error) error {
		if err != nil {
			return blame("volume "+what, err)
		}
		if taken[spec.Target] {
			return fail(ErrUsage, "volume "+what, "Duplicate mount point: %s: give each volume a path of its own", spec.Target)
		}
		taken[spec.Target] = true
		ref, err := e.refer(spec)
		own = append(own, ref)
		for _, word := range spec.Ignored {
			r.Options.Ignored = append(r.Options.Ignored, word+" of the volume at "+spec.Target)
		}
		return blame("volume "+what, err)
	}
	for _, s := range q.Volumes {
		spec, err := volumes.ParseSpec(s)
		if err := add(s, spec, err); err != nil {
			return err
		}
	}
	for _, s := range q.Mounts {
		spec, err := volumes.ParseMountSpec(s)
		if err := add(volumes.HideMountSpec(s), spec, err); err != nil {
			return err
		}
	}
	others, err := e.volumesFrom(q.VolumesFrom)
	if err != nil {
		return err
	}
	for _, v := range others { // what is given itself takes the place of what another mount has there
		if !taken[v.Target] {
			own = append(own, v)
		}
	}
	r.Volumes = own
	sortByDepth(r.Volumes)
	return nil
}

// refer makes a reference of what was asked for. Nothing is made yet.
func (e *Engine) refer(s volumes.Spec) (VolumeRef, error) {
	ref := VolumeRef{Target: s.Target, ReadOnly: s.ReadOnly, NoCopy: s.NoCopy, Subpath: s.Subpath, asked: s}
	switch {
	case s.Path != "":
		ref.Driver, ref.Source = WayBind, s.Path // Docker's word for a host path
		return ref, nil
	case s.Tmpfs != nil:
		ref.Driver, ref.Tmpfs = DriverTmpfs, s.Tmpfs
		return ref, nil
	case s.Anonymous():
		ref.Name, ref.Anonymous = volumes.Anonymous(), true
	default:
		ref.Name = s.Name
	}
	v, err := e.volumes().Get(ref.Name)
	switch {
	case errors.Is(err, volumes.ErrNotFound):
		v = volumes.Volume{Name: ref.Name, Driver: s.Driver, Options: s.Options}
		if v.Driver == "" {
			v.Driver = driver.Local
		}
		if driver.BuiltIn(v.Driver) {
			v.Mountpoint = e.volumes().Mountpoint(ref.Name)
		}
		_, err = driver.Open(driver.Volume{Name: v.Name, Driver: v.Driver, Options: v.Options}) // bad options show now
		err = volumes.Judge(err)
	case err == nil && s.Driver != "" && s.Driver != v.Driver:
		err = fail(ErrConflict, "volume "+ref.Name, "create %s: volume name must be unique: driver %q already has volume %q", ref.Name, v.Driver, ref.Name)
	}
	ref.Driver = v.Driver
	if ref.Source = v.Mountpoint; ref.Source != "" && s.Subpath != "" {
		ref.Source += "/" + s.Subpath
	}
	return ref, err
}

// volumesFrom returns the volumes of other mounts: MOUNT, MOUNT:ro or MOUNT:rw. What
// came first fills them; of several at one path the last is taken, as in Docker.
func (e *Engine) volumesFrom(mounts []string) (refs []VolumeRef, err error) {
	for _, m := range mounts {
		name, mode, _ := strings.Cut(m, ":")
		what := "volumes-from " + m
		if mode != "" && mode != "ro" && mode != "rw" {
			return nil, fail(ErrUsage, what, "invalid mode: %s: want MOUNT[:ro]", mode)
		}
		name, err := e.find(name)
		if err != nil {
			return nil, blame(what, err)
		}
		r, err := e.load(name)
		if errors.Is(err, ErrNotFound) { // of mount(8)'s form: its daemon has the record
			if _, s, stateErr := e.state(name); stateErr == nil && s != nil {
				r, err = &s.Record, nil
			}
		}
		if err != nil {
			return nil, blame(what, err)
		}
		for _, v := range r.Volumes {
			v.NoCopy = true
			v.ReadOnly = v.ReadOnly || mode == "ro"
			refs = slices.DeleteFunc(refs, func(w VolumeRef) bool { return w.Target == v.Target })
			refs = append(refs, v)
		}
	}
	return refs, nil
}

// sortByDepth puts a volume before those that lie below its target.
func sortByDepth(vs []VolumeRef) {
	slices.SortStableFunc(vs, func(a, b VolumeRef) int { return strings.Count(a.Target, "/") - strings.Count(b.Target, "/") })
}

// makeVolumes makes the volumes of a mount that aren't there yet, and the host
// directories that may be made; made collects the names.
func (e *Engine) makeVolumes(r *Record, undo *undoer, made *[]string) error {
	for i := range r.Volumes {
		v := &r.Volumes[i]
		if v.asked.CreateSource {
			if err := makeSource(v.Source, undo); err != nil {
				return fail(nil, "volume "+v.Source, "make it: %w", bare(err))
			}
		}
		if v.Name == "" {
			continue
		}
		n := NewVolume{Name: v.Name, Driver: v.asked.Driver, Labels: v.asked.Labels, Options: v.asked.Options}
		if v.Anonymous && len(n.Labels) == 0 {
			n.Labels = map[string]string{AnonymousLabel: ""}
		} else if v.Anonymous {
			n.Labels[AnonymousLabel] = ""
		}
		_, isNew, err := e.makeVolume(n)
		if isNew {
			*made = append(*made, v.Name)
		}
		if err != nil {
			return blame("volume "+v.Name, err)
		}
	}
	if r.Helper {
		return nil // mount(8)'s form leaves the catalogue alone; the next listing finds them
	}
	return e.indexVolumes(*made...)
}

// makeSource makes a missing host directory.
func makeSource(path string, undo *undoer) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	undo.add(func() error {
		_ = os.Remove(path) // not if something is in it by now
		return nil
	})
	return os.MkdirAll(path, 0o755)
}

// volumesThere makes sure that named volumes still are: an empty one in the place of lost data would be worse.
func (e *Engine) volumesThere(doing string, all []VolumeRef) error {
	for _, v := range all {
		if v.Name == "" {
			continue
		}
		if _, err := e.volumes().Get(v.Name); err != nil {
			return blame(doing, fmt.Errorf("%w: unionmount volume create %s makes an empty one", err, v.Name))
		}
	}
	return nil
}
