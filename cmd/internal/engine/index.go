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
	err := catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		if _, err := os.Stat(e.config(r.Name)); err == nil {
			return fail(ErrConflict, "mount "+r.Name, "%w: choose another with --name, or unionmount rm %s", errTaken, r.Name)
		}
		if r.Remove { // else its like would add up until somebody asks for a list
			if err := e.dropGone(tx); err != nil {
				return err
			}
		}
		return e.put(tx, r)
	})
	if errors.Is(err, catalog.ErrRefused) {
		return e.unwritable("mount "+r.Name, err)
	}
	return err
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

// forget removes the records of mounts whose files are gone. On a full disk that
// may be left to the next listing.
func (e *Engine) forget(names ...string) error {
	err := catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		for _, name := range names {
			if err := tx.Delete(kindMount, name); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, catalog.ErrRefused) {
		return nil
	}
	return err
}

// rebuild refills the catalogue from the directories.
func (e *Engine) rebuild(tx catalog.Tx) error {
	if _, broken, err := e.compareVolumes(tx); err != nil {
		return err
	} else if broken != nil {
		fmt.Fprintln(os.Stderr, "unionmount: rebuild the catalogue:", broken)
	}
	return e.configs(func(name string, text []byte) error { return tx.Put(kindMount, name, text) })
}

// configs calls visit with the file of each record.
func (e *Engine) configs(visit func(name string, text []byte) error) error {
	dirs, err := os.ReadDir(filepath.Join(e.Root, "mounts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range dirs {
		text, err := os.ReadFile(e.config(d.Name()))
		if err != nil {
			continue // a mount being removed, or none
		}
		if err := visit(d.Name(), text); err != nil {
			return err
		}
	}
	return nil
}

// records reads all records by name, and drops those whose mount has gone by
// itself (--rm). A record that can't be read has only its name here. Where the
// catalogue can't be opened (a full disk, a read-only root) the directories tell.
func (e *Engine) records() (all []*Record, err error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		all, err = e.recordsIn(tx)
		return err
	})
	if errors.Is(err, catalog.ErrRefused) {
		err = e.configs(func(name string, text []byte) error {
			all = append(all, readRecord(name, text))
			return nil
		})
	}
	return all, err
}

func readRecord(name string, text []byte) *Record {
	r := new(Record)
	if err := json.Unmarshal(text, r); err != nil {
		r = new(Record)
	}
	r.Name = name
	return r
}

func (e *Engine) recordsIn(tx catalog.Tx) (all []*Record, err error) {
	if err := e.dropGone(tx); err != nil {
		return nil, err
	}
	err = tx.Each(kindMount, func(name string, text []byte) error {
		all = append(all, readRecord(name, text))
		return nil
	})
	return all, err
}

// dropGone drops the records of mounts that went with their end (--rm), and of their
// anonymous volumes: a daemon doesn't open the catalogue.
func (e *Engine) dropGone(tx catalog.Tx) error {
	var gone []*Record
	err := tx.Each(kindMount, func(name string, text []byte) error {
		if _, err := os.Stat(e.config(name)); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, readRecord(name, text))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range gone {
		if err := errors.Join(tx.Delete(kindMount, r.Name), e.indexEach(tx, anonymous(r))); err != nil {
			return err
		}
	}
	return nil
}
