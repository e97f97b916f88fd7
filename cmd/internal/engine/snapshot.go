package engine

import (
	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Method says how a volume was copied.
type Method = driver.Method

// SnapshotVolume keeps what a volume holds now as VOLUME@name. See volumes.Store.Snapshot.
func (e *Engine) SnapshotVolume(volume, name string, live bool) (string, driver.Method, error) {
	ctx, cancel := patiently()
	defer cancel()
	m, err := e.volumes().Snapshot(ctx, volume, name, live)
	if err == nil {
		e.note(TypeVolume, "snapshot", volume, map[string]string{"snapshot": name, "method": m.Name})
	}
	return volume + "@" + name, m, blame("volume "+volume, err)
}

// CloneVolume makes a volume with the data of from, VOLUME or VOLUME@SNAP.
func (e *Engine) CloneVolume(n NewVolume, from string) (string, driver.Method, error) {
	if n.Name == "" {
		n.Name = volumes.Anonymous()
		if n.Labels == nil {
			n.Labels = make(map[string]string)
		}
		n.Labels[AnonymousLabel] = ""
	}
	ctx, cancel := patiently()
	defer cancel()
	origin, err := volumes.ParseOrigin(from)
	if err != nil {
		return "", driver.Method{}, blame("volume "+from, err)
	}
	m, err := e.volumes().Clone(ctx, origin, n)
	if err == nil {
		e.note(TypeVolume, "create", n.Name, map[string]string{"from": from, "method": m.Name})
		err = e.indexVolumes(n.Name)
	}
	return n.Name, m, blame("volume "+n.Name, err)
}

// RemoveSnapshot deletes VOLUME@SNAP.
func (e *Engine) RemoveSnapshot(name string) error {
	ctx, cancel := patiently()
	defer cancel()
	origin, err := volumes.ParseOrigin(name)
	if err == nil {
		err = e.volumes().RemoveSnapshot(ctx, origin)
	}
	if err == nil {
		e.note(TypeVolume, "snapshot-destroy", origin.Volume, map[string]string{"snapshot": origin.Snapshot})
	}
	return blame("snapshot "+name, err)
}

// Snapshots lists the snapshots of a volume.
func (e *Engine) Snapshots(volume string) ([]volumes.Volume, error) {
	all, err := e.volumes().Snapshots(volume)
	return all, blame("volume "+volume, err)
}
