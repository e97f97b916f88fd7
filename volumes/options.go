package volumes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Volume is what a volume is, with Docker's keys in Docker's types. Options hold
// passwords as they were given: show driver.Hide of them.
type Volume struct {
	CreatedAt  string // RFC 3339
	Driver     string
	Labels     map[string]string // never nil
	Mountpoint string            // "" if only its plugin knows
	Name       string
	Options    map[string]string // never nil
	Scope      string
}

// Anonymous tells whether nobody named the volume.
func (v *Volume) Anonymous() bool {
	_, ok := v.Labels[AnonymousLabel]
	return ok
}

// options is the file beside _data; from it alone a lost catalogue is made again.
type options struct {
	Version   int               `json:"version"`
	Driver    string            `json:"driver"`
	CreatedAt string            `json:"createdAt"`
	Labels    map[string]string `json:"labels,omitempty"`
	Options   map[string]string `json:"options,omitempty"`
}

const (
	version     = 1 // of the options file; a higher one is refused by name
	optionsFile = "options.json"
)

// readOptions reads what a directory says of its volume. Data without the file is
// a volume still: a plain one, made when the directory last changed, as Docker has
// it. What is no directory is no volume.
func readOptions(dir, name string) (o options, err error) {
	path := filepath.Join(dir, optionsFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, sys.ENOTDIR):
		if _, err := os.Stat(filepath.Join(dir, driver.DataDir)); err != nil {
			return o, fail(ErrNotFound, "get %s: no such volume", name)
		}
	case err != nil:
		return o, fail(nil, "get %s: %w", name, err)
	default:
		if err := json.Unmarshal(text, &o); err != nil {
			return o, fail(nil, "get %s: %s: %w: correct it; its data is untouched", name, path, err)
		}
	}
	if o.Version > version {
		return o, fail(ErrUnsupported, "get %s: %s is of version %d: use the unionmount that wrote it", name, path, o.Version)
	}
	if o.Driver == "" {
		o.Driver = driver.Local
	}
	if o.CreatedAt == "" {
		o.CreatedAt = changedAt(dir)
	}
	return o, nil
}

func changedAt(dir string) string {
	fd, err := sys.Open(dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer sys.Close(fd)
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return ""
	}
	return time.Unix(st.Ctim.Unix()).UTC().Format(time.RFC3339)
}

// writeOptions writes the file of a staged volume, synced.
func writeOptions(dir string, o options) error {
	return writeJSON(filepath.Join(dir, optionsFile), os.O_EXCL, o)
}

// writeJSON makes a file that says what v is, synced. exists is O_EXCL, or O_TRUNC for one that may be there.
func writeJSON(path string, exists int, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|exists, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// volume is what o says of the volume name whose directory is dir.
func (o options) volume(dir, name string) Volume {
	v := Volume{CreatedAt: o.CreatedAt, Driver: o.Driver, Labels: o.Labels, Options: o.Options, Name: name, Scope: "local"}
	if driver.BuiltIn(o.Driver) {
		v.Mountpoint = filepath.Join(dir, driver.DataDir)
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if v.Options == nil {
		v.Options = map[string]string{}
	}
	return v
}
