package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/catalog"
)

// The catalogue has a record for each volume: what its options file says, and the
// file's stamp, so that a listing of many reads one database instead of as many files.
const kindVolume = "volume"

// recordForm is the first field of a record; one of another form is written anew.
const recordForm = "1"

// volumeText is a record: fields with a NUL between them, which is ten times
// quicker to read than JSON. ok is false for what holds a NUL itself: it isn't recorded.
func volumeText(stamp volumes.Stamp, v *volumes.Volume) (text []byte, ok bool) {
	f := []string{recordForm, stamp.String(), strconv.Itoa(len(v.Labels)), v.Driver, v.CreatedAt, v.Mountpoint, v.Scope}
	for _, m := range []map[string]string{v.Labels, v.Options} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			f = append(f, k, m[k])
		}
	}
	return []byte(strings.Join(f, "\x00")), !slices.ContainsFunc(f, func(s string) bool { return strings.Contains(s, "\x00") })
}

// parseVolume reads a record, no maps where nothing is in them, and none at all if
// brief; false if it isn't of the options file with that stamp, if one is given.
func parseVolume(text, name string, stamp *volumes.Stamp, brief bool) (v volumes.Volume, ok bool) {
	var f [7]string
	more := true
	for i := range f {
		if !more {
			return v, false
		}
		f[i], text, more = strings.Cut(text, "\x00")
	}
	pairs := 0
	if more {
		pairs = strings.Count(text, "\x00") + 1
	}
	labels, err := strconv.Atoi(f[2])
	if f[0] != recordForm || err != nil || labels < 0 || 2*labels > pairs || pairs%2 != 0 ||
		stamp != nil && (f[1] != stamp.String() || *stamp == (volumes.Stamp{})) {
		return v, false
	}
	v = volumes.Volume{Name: name, Driver: f[3], CreatedAt: f[4], Mountpoint: f[5], Scope: f[6]}
	if brief {
		return v, true
	}
	next := func(n int) (m map[string]string) {
		if n > 0 {
			m = make(map[string]string, n)
		}
		for range n {
			var key, value string
			key, text, _ = strings.Cut(text, "\x00")
			value, text, _ = strings.Cut(text, "\x00")
			m[key] = value
		}
		return m
	}
	v.Labels = next(labels)
	v.Options = next(pairs/2 - labels)
	return v, true
}

// indexVolumes puts what the directories say of the named volumes into the catalogue.
// Where that can't be opened (a full disk) the next listing does it.
func (e *Engine) indexVolumes(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		err := e.indexEach(tx, names)
		if err == nil {
			e.writeList(tx, volumes.Stamp{})
		}
		return err
	})
	if errors.Is(err, catalog.ErrRefused) {
		e.dropList()
		return nil
	}
	return err
}

func (e *Engine) indexEach(tx catalog.Tx, names []string) error {
	for _, name := range names {
		if _, err := e.indexVolume(tx, name, e.volumes().Stamp(name)); err != nil && !errors.Is(err, volumes.ErrNotFound) {
			return err
		}
	}
	return nil
}

// indexVolume records one volume, or forgets one that isn't there.
func (e *Engine) indexVolume(tx catalog.Tx, name string, stamp volumes.Stamp) (volumes.Volume, error) {
	v, err := e.volumes().Get(name)
	if err != nil {
		return v, cmp.Or(tx.Delete(kindVolume, name), err) // said each time
	}
	text, ok := volumeText(stamp, &v)
	if !ok {
		return v, tx.Delete(kindVolume, name)
	}
	return v, tx.Put(kindVolume, name, text)
}

// listVolumes reads all volumes, by name, from catalogue and directories, and writes the list. One that can't be read is in the error and not in the list.
func (e *Engine) listVolumes(tx catalog.Tx) (all []volumes.Volume, broken, err error) {
	stamp := e.volumes().DirStamp()
	all, broken, err = e.compareVolumes(tx)
	if err != nil {
		return nil, nil, err
	}
	recorded := 0
	err = tx.Each(kindVolume, func(string, []byte) error { recorded++; return nil })
	if recorded != len(all) || broken != nil || e.volumes().DirStamp() != stamp {
		stamp = volumes.Stamp{} // what isn't recorded is read each time
	}
	e.writeList(tx, stamp)
	return all, broken, err
}

// compareVolumes brings the catalogue in step with the directories. A volume that
// can't be read is in the error and not in the list.
func (e *Engine) compareVolumes(tx catalog.Tx) (all []volumes.Volume, broken, err error) {
	names, stamps, err := e.volumes().Stamps()
	if err != nil {
		return nil, nil, err
	}
	all = make([]volumes.Volume, 0, len(names))
	for i, name := range names {
		if v, ok := parseVolume(string(tx.Get(kindVolume, name)), name, &stamps[i], false); ok {
			all = append(all, v)
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
	var gone []string
	err = tx.Each(kindVolume, func(name string, _ []byte) error {
		if _, found := slices.BinarySearch(names, name); !found {
			gone = append(gone, name)
		}
		return nil
	})
	for _, name := range gone {
		err = errors.Join(err, tx.Delete(kindVolume, name))
	}
	return all, broken, err
}
