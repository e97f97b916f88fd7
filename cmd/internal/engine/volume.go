package engine

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/catalog"
)

// Volume is what volume inspect prints, with Docker's keys.
type Volume = volumes.Volume

// CreateVolume makes a volume, or returns the one there is.
func (e *Engine) CreateVolume(name, driver string, labels, options map[string]string) (Volume, error) {
	v, _, err := e.volumes().Create(name, driver, labels, options)
	return v, blame("volume "+name, err)
}

// Volume describes one volume.
func (e *Engine) Volume(name string) (Volume, error) {
	v, err := e.volumes().Get(name)
	return v, blame("volume "+name, err)
}

// Volumes lists all volumes, by name. One that can't be read is in the error and not in the list.
func (e *Engine) Volumes() ([]Volume, error) { return e.volumes().List() }

// VolumeUsers counts the mounts, running, dead or stopped, that refer to each volume.
func (e *Engine) VolumeUsers() (map[string][]string, error) {
	all, err := e.List(true)
	users := make(map[string][]string)
	for _, m := range all {
		for _, v := range m.Volumes {
			if v.Name != "" && !slices.Contains(users[v.Name], m.Name) {
				users[v.Name] = append(users[v.Name], m.Name)
			}
		}
	}
	return users, err
}

// RemoveVolume deletes a volume that no mount, running or stopped, refers to;
// force: one that is missing is fine. The name goes while the catalogue is held,
// in which every new mount must write before it uses a volume.
func (e *Engine) RemoveVolume(name string, force bool) error {
	if _, err := e.Volume(name); err != nil {
		if force && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	var sweep func() error
	err := catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		users, err := e.users(tx, name)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fail(ErrConflict, "volume "+name, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
		}
		sweep, err = e.volumes().Remove(name)
		return err
	})
	if err == nil {
		err = sweep()
	}
	return blame("volume "+name, err)
}

// users names the mounts that refer to a volume: the recorded ones, and those of mount(8)'s form that live.
func (e *Engine) users(tx catalog.Tx, volume string) (users []string, err error) {
	records, err := e.recordsIn(tx)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		// The file is the truth; start may have changed it.
		if now, err := e.load(r.Name); err == nil {
			r = now
		}
		if r.uses(volume) {
			users = append(users, r.Name)
		}
	}
	live, err := e.live()
	if err != nil {
		return nil, err
	}
	for _, name := range live {
		kind, s, err := e.state(name)
		if err == nil && kind == Running && s != nil && s.Record.uses(volume) {
			users = append(users, name)
		}
	}
	slices.Sort(users)
	return slices.Compact(users), nil
}

// dropNew removes the volumes that a mount made which then failed, unless
// another mount has begun to use one or something is in it.
func (e *Engine) dropNew(names []string) error {
	var errs []error
	for _, name := range names {
		if data, err := os.ReadDir(e.volumes().Mountpoint(name)); err != nil || len(data) > 0 {
			continue
		}
		if err := e.RemoveVolume(name, true); !errors.Is(err, ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
