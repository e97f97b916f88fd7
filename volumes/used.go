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
	lastUsed = 10 // how many are kept
)

// note writes down who attaches the volume. It is for people: what a crash loses of it harms nobody.
func (l *Locked) note(uses []Use) error {
	was, err := l.store.LastUsed(l.Name)
	if err != nil {
		was = nil // it can't be read: begin anew
	}
	was = append(append([]Use(nil), uses...), was...)
	text, err := json.Marshal(was[:min(len(was), lastUsed)])
	if err != nil {
		return err
	}
	path := filepath.Join(l.Dir(), usedFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// LastUsed returns the last ten uses of a volume, the youngest first.
func (s *Store) LastUsed(volume string) (uses []Use, err error) {
	text, err := os.ReadFile(filepath.Join(s.dir, volume, usedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &uses)
	}
	return uses, err
}
