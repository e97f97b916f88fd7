package engine

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Request is a mount as the command line asks for it.
type Request struct {
	Name        string // "": generated
	Layers      []string
	Mountpoint  string
	Upper       string
	Work        string
	ReadOnly    bool // no upper
	Remove      bool
	Volumes     []string // -v values
	Mounts      []string // --mount values
	VolumesFrom []string // MOUNT[:ro]
	IO          string
	VolumeIO    string
	Options     Options
	LogLevel    string
	Foreground  bool
	Helper      bool // mount(8)'s form
}

// resolve turns what was asked into a record with absolute paths; nothing is made.
func (e *Engine) resolve(q Request) (*Record, error) {
	if err := q.valid(); err != nil {
		return nil, err
	}
	r := &Record{Version: version, Name: q.Name, Remove: q.Remove, IO: q.IO, VolumeIO: q.VolumeIO,
		Options: q.Options, Helper: q.Helper, LogLevel: q.LogLevel}
	if r.Name == "" {
		r.Name = e.generateName(!q.Helper)
	}
	var err error
	if r.Mountpoint, err = filepath.Abs(q.Mountpoint); err != nil {
		return nil, err
	}
	for _, l := range q.Layers {
		abs, err := resolveLayer(l)
		if err != nil {
			return nil, err
		}
		r.Layers = append(r.Layers, abs)
	}
	if err := e.resolveUpper(r, q); err != nil {
		return nil, err
	}
	if err := e.resolveVolumes(r, q); err != nil {
		return nil, err
	}
	borrowed := slices.DeleteFunc(slices.Clone(r.Volumes), func(v VolumeRef) bool { return v.asked.Target != "" })
	return r, e.volumesThere("volumes-from", borrowed)
}

func (q *Request) valid() error {
	var level slog.Level
	switch {
	case len(q.Layers) == 0:
		return fail(ErrUsage, "mount", "no layer given: unionmount mount LAYER... MOUNTPOINT")
	case q.Mountpoint == "":
		return fail(ErrUsage, "mount", "an empty mountpoint: name a directory")
	case q.ReadOnly && q.Upper != "":
		return fail(ErrUsage, "upper "+q.Upper, "a read-only mount has no upper: leave out --upper or --read-only")
	case q.Work != "" && q.Upper == "":
		return fail(ErrUsage, "work "+q.Work, "it belongs to an upper: give the upper too")
	case q.LogLevel != "" && level.UnmarshalText([]byte(q.LogLevel)) != nil:
		return fail(ErrUsage, "log-level "+q.LogLevel, "want debug, info, warn or error")
	case q.Name != "":
		return checkName(q.Name)
	}
	return nil
}

// resolveLayer takes a bare word that names nothing for the name of a stored layer.
func resolveLayer(l string) (string, error) {
	if l == "" {
		return "", fail(ErrUsage, "layer", "an empty name: name a directory")
	}
	abs, err := filepath.Abs(l)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) && !strings.Contains(l, "/") {
		return "", fail(ErrNotFound, "layer "+l, "neither a stored layer nor a directory here: give a path")
	}
	return abs, nil
}

func (e *Engine) resolveUpper(r *Record, q Request) (err error) {
	switch {
	case q.ReadOnly, q.Upper == "" && q.Helper:
		return nil
	case q.Upper == "":
		r.OwnUpper = true
		r.Upper, r.Work = filepath.Join(e.mountDir(r.Name), "upper"), filepath.Join(e.mountDir(r.Name), "work")
		return nil
	}
	if r.Upper, err = filepath.Abs(q.Upper); err != nil {
		return err
	}
	r.Work = r.Upper + ".work"
	if q.Work != "" {
		r.Work, err = filepath.Abs(q.Work)
	}
	return err
}
