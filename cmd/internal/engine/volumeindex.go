package engine

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/catalog"
)

// The catalogue has a record for each volume: what its options file says, and the
// file's stamp, so that a listing of many reads one database instead of as many files.
const kindVolume = "volume"

type volumeRecord struct {
	Stamp  volumes.Stamp
	Volume volumes.Volume
}

// indexVolumes puts what the directories say of the named volumes into the catalogue.
func (e *Engine) indexVolumes(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		for _, name := range names {
			if _, err := e.indexVolume(tx, name, e.volumes().Stamp(name)); err != nil && !errors.Is(err, volumes.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// indexVolume records one volume, or forgets one that isn't there.
func (e *Engine) indexVolume(tx catalog.Tx, name string, stamp volumes.Stamp) (volumes.Volume, error) {
	v, err := e.volumes().Get(name)
	if errors.Is(err, volumes.ErrNotFound) {
		return v, cmp.Or(tx.Delete(kindVolume, name), err)
	}
	if err != nil {
		return v, err
	}
	text, err := json.Marshal(volumeRecord{stamp, v})
	if err != nil {
		return v, err
	}
	return v, tx.Put(kindVolume, name, text)
}

// listVolumes reads all volumes, by name, and brings the catalogue in step with
// the directories. One that can't be read is in the error and not in the list.
func (e *Engine) listVolumes(tx catalog.Tx) (all []volumes.Volume, broken, err error) {
	names, stamps, err := e.volumes().Stamps()
	if err != nil {
		return nil, nil, err
	}
	known := make(map[string][]byte, len(names))
	if err := tx.Each(kindVolume, func(name string, value []byte) error { known[name] = value; return nil }); err != nil {
		return nil, nil, err
	}
	all = make([]volumes.Volume, 0, len(names))
	for i, name := range names {
		var r volumeRecord
		text, ok := known[name]
		delete(known, name)
		if ok && json.Unmarshal(text, &r) == nil && r.Stamp == stamps[i] && r.Stamp != (volumes.Stamp{}) {
			all = append(all, r.Volume)
			continue
		}
		v, err := e.indexVolume(tx, name, stamps[i])
		switch {
		case errors.Is(err, volumes.ErrNotFound):
		case err != nil:
			broken = errors.Join(broken, blame("volume "+name, err))
		default:
			all = append(all, v)
		}
	}
	for name := range known {
		if err := tx.Delete(kindVolume, name); err != nil {
			return nil, nil, err
		}
	}
	return all, broken, nil
}
