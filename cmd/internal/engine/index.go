package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes/catalog"
)

// The catalogue has a record for each mount that outlives its daemon: the same
// text as config.json, which it can be rebuilt from.
const kindMount = "mount"

// errTaken is part of the error for a name that another mount has.
var errTaken = errors.New("the name is taken")

// save records a new mount; ErrConflict and errTaken if the name is taken.
func (e *Engine) save(r *Record) error {
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		if _, err := os.Stat(e.config(r.Name)); err == nil {
			return fail(ErrConflict, "mount "+r.Name, "%w: choose another with --name, or unionmount rm %s", errTaken, r.Name)
		}
		return e.put(tx, r)
	})
}

// update records a mount anew.
func (e *Engine) update(r *Record) error {
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error { return e.put(tx, r) })
}

// put writes the file first: a record without one is dropped by the next listing.
func (e *Engine) put(tx catalog.Tx, r *Record) error {
	if err := e.write(r); err != nil {
		return err
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	return tx.Put(kindMount, r.Name, text)
}

// forget removes records.
func (e *Engine) forget(names ...string) error {
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		for _, name := range names {
			if err := tx.Delete(kindMount, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// rebuild refills the catalogue from the directories.
func (e *Engine) rebuild(tx catalog.Tx) error {
	if _, broken, err := e.compareVolumes(tx); err != nil {
		return err
	} else if broken != nil {
		fmt.Fprintln(os.Stderr, "unionmount: rebuild the catalogue:", broken)
	}
	_, err := e.indexMounts(tx)
	return err
}

// indexMounts records all mounts and counts them.
func (e *Engine) indexMounts(tx catalog.Tx) (found int, err error) {
	dirs, err := os.ReadDir(filepath.Join(e.Root, "mounts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, d := range dirs {
		text, err := os.ReadFile(e.config(d.Name()))
		if err != nil {
			continue // a mount being removed, or none
		}
		if err := tx.Put(kindMount, d.Name(), text); err != nil {
			return 0, err
		}
		found++
	}
	return found, nil
}

// records reads all records by name, and drops those whose mount has gone by
// itself (--rm). A record that can't be read has only its name here.
func (e *Engine) records() (all []*Record, err error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		all, err = e.recordsIn(tx)
		return err
	})
	return all, err
}

func (e *Engine) recordsIn(tx catalog.Tx) (all []*Record, err error) {
	var gone []string
	err = tx.Each(kindMount, func(name string, text []byte) error {
		r := new(Record)
		if _, err := os.Stat(e.config(name)); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, name)
			return nil
		}
		if err := json.Unmarshal(text, r); err != nil {
			r = new(Record)
		}
		r.Name = name
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range gone {
		if err := tx.Delete(kindMount, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}
