package volumes

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// inside notes what is staged for data whose root must stay: another file system is
// mounted there, or other mounts have it attached. The note is beside the data, where no
// user of the volume can write: no name in the data means anything to us by itself.
type inside struct {
	Stage  string `json:"stage"`            // the directory's name, in the data
	Beside bool   `json:"beside,omitempty"` // no, beside it
	Step   string `json:"step"`

	data *Data
	dir  int // of the stage: whatever gets its name meanwhile
}

const (
	insideFile   = "inside.json" // in the volume's directory
	insidePrefix = ".unionmount."

	stepStage   = "stage"   // it isn't complete: it goes
	stepReplace = "replace" // complete: everything else goes, the data gets its owner, mode and attributes
	stepMove    = "move"    // its names move up; one that is there by now stays
)

// begin makes and notes an empty stage in the data.
func (d *Data) begin() (*inside, error) {
	s := &inside{Stage: insidePrefix + strings.ToLower(rand.Text()), Step: stepStage, data: d, dir: -1}
	if err := s.note(); err != nil {
		return nil, err
	}
	err := withDir(d.Path, func(dir int) error { return sys.MkdirAt(dir, s.Stage, 0o700) })
	if err == nil {
		err = s.open()
	}
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// base is where the stage is.
func (s *inside) base() string {
	if s.Beside {
		return s.data.locked.Dir()
	}
	return s.data.Path
}

func (s *inside) open() error {
	return withDir(s.base(), func(dir int) (err error) {
		s.dir, err = sys.OpenAt(dir, s.Stage, sys.O_RDONLY|sys.O_DIRECTORY, 0)
		return err
	})
}

// path leads to the stage itself, not to what has its name.
func (s *inside) path() string { return sys.ProcPath(s.dir) }

// note writes the note, synced, in the place of the one there was.
func (s *inside) note() error {
	path := filepath.Join(s.data.locked.Dir(), insideFile)
	err := writeJSON(path+".new", os.O_TRUNC, s)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return errors.Join(err, syncDir(s.data.locked.Dir()))
}

// end removes what is left of the stage, and the note.
func (s *inside) end() error {
	if s.dir >= 0 {
		_ = sys.Close(s.dir) // read only
		s.dir = -1
	}
	if err := RemoveTree(filepath.Join(s.base(), s.Stage)); err != nil {
		return err
	}
	dir := s.data.locked.Dir()
	return errors.Join(os.Remove(filepath.Join(dir, insideFile)), syncDir(dir))
}

// finish goes on with what a crash interrupted, if anything.
func (d *Data) finish() error {
	path := filepath.Join(d.locked.Dir(), insideFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s := &inside{data: d, dir: -1}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err == nil && (s.Stage == "" || filepath.Base(s.Stage) != s.Stage) {
		err = fmt.Errorf("bad stage %q", s.Stage)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch err := s.open(); {
	case errors.Is(err, sys.ENOENT), errors.Is(err, sys.ENOTDIR), errors.Is(err, sys.ELOOP):
		return s.end() // it had not been made yet, or a user of the volume took it away
	case err != nil:
		return err
	}
	return s.finish()
}

// finish does what is left to do of a stage that is open. After an error the next goes on with it.
func (s *inside) finish() error {
	if s.Step == stepReplace {
		err := clearDir(s.data.Path, s.Stage, lostFound)
		if err == nil {
			err = dress(s.data.Path, s.path())
		}
		if err == nil {
			s.Step = stepMove
			err = s.note()
		}
		if err != nil {
			return err
		}
	}
	if s.Step == stepMove {
		if err := withDir(s.data.Path, func(to int) error { return moveUp(s.dir, to) }); err != nil {
			return err
		}
		if err := syncDir(s.data.Path); err != nil {
			return err
		}
	}
	return s.end()
}

// clearDir removes everything in a directory but some names.
func clearDir(dir string, but ...string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil && !slices.Contains(but, e.Name()) {
			err = RemoveTree(filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// moveUp moves each name of one directory into another; one that is there by now stays.
func moveUp(from, to int) error {
	var names []string
	if err := sys.ReadDir(from, func(e sys.Dirent) error { names = append(names, e.Name); return nil }); err != nil {
		return err
	}
	for _, n := range names {
		if err := place(from, to, n); err != nil && err != sys.EEXIST {
			return fmt.Errorf("move %q: %w", n, err)
		}
	}
	return nil
}

// place moves a name from one directory to another where it is free; EEXIST else.
// nfs and most FUSE servers answer EINVAL to RENAME_NOREPLACE: there a link is as good,
// and what can't be linked (a directory) is looked for before it is moved.
func place(from, to int, name string) error {
	err := sys.RenameAt(from, name, to, name, sys.RENAME_NOREPLACE)
	if err != sys.EINVAL {
		return err
	}
	switch err := sys.LinkAt(from, name, to, name); err {
	case nil:
		return sys.UnlinkAt(from, name)
	case sys.EEXIST:
		return err
	}
	switch _, err := sys.StatAt(to, name); err {
	case nil:
		return sys.EEXIST
	case sys.ENOENT:
		return sys.RenameAt(from, name, to, name, 0)
	default:
		return err
	}
}
