package volumes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	usedFile = "used.json"
	lastUsed = 10 // how many mounts' uses are kept
)

// note writes down who attaches the volume. It is for people: what a crash loses of it harms nobody.
func (l *Locked) note(uses []Use) error {
	was, err := l.store.LastUsed(l.Name)
	if err != nil {
		was = nil // it can't be read: begin anew
	}
	was = append(append([]Use(nil), uses...), was...)
	text, err := json.Marshal(lastOf(was))
	if err != nil {
		return err
	}
	return overwrite(filepath.Join(l.Dir(), usedFile), append(text, '\n'))
}

// lastOf keeps the uses of the last mounts: one may have the volume at several paths.
func lastOf(uses []Use) []Use {
	mounts := 0
	for i, u := range uses {
		if i > 0 && u.Mount == uses[i-1].Mount && u.Since.Equal(uses[i-1].Since) {
			continue
		}
		if mounts++; mounts > lastUsed {
			return uses[:i]
		}
	}
	return uses
}

// overwrite writes a file in place. Each new file costs an ext4 a look at every
// number that was freed in the last minutes: a mount of a hundred volumes feels it.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}

// LastUsed returns the uses of a volume by its last ten mounts, the youngest first; none
// if a crash tore them.
func (s *Store) LastUsed(volume string) (uses []Use, err error) {
	f, err := os.Open(filepath.Join(s.dir, volume, usedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One value: behind it may be the rest of a longer one that is being overwritten.
	if json.NewDecoder(f).Decode(&uses) != nil {
		return nil, nil
	}
	return uses, nil
}
