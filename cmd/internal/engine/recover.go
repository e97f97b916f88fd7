package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes/catalog"
)

// Recovered is what the directories gave a new catalogue.
type Recovered struct {
	Volumes, Mounts int
	Aside           string // where the old catalogue is kept; "" if there was none
}

// Recover makes the catalogue anew from the directories: every volume with its
// driver, labels, options and mark, and every mount. No data is touched; the old
// catalogue is kept.
func (e *Engine) Recover() (r Recovered, err error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return r, fail(ErrNotFound, "volume recover", "no root at %s: name it with --root", e.Root)
	}
	if err := os.Remove(filepath.Join(e.Root, listFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	var broken error
	r.Aside, err = catalog.Renew(e.Root, func(tx catalog.Tx) error {
		all, b, err := e.compareVolumes(tx)
		if err != nil {
			return err
		}
		r.Volumes, broken = len(all), b
		return e.configs(func(name string, text []byte) error { r.Mounts++; return tx.Put(kindMount, name, text) })
	})
	ctx, cancel := patiently()
	defer cancel()
	return r, errors.Join(err, broken, e.volumes().Clean(ctx))
}
