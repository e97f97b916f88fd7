package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes"
)

// Request is a mount as the command line asks for it.
type Request struct {
	Name       string // "": generated
	Layers     []string
	Mountpoint string
	Upper      string
	Work       string
	ReadOnly   bool
	Remove     bool
	Volumes    []string // -v values
	IO         string
	VolumeIO   string
	Given      Given
	LogLevel   string
	Foreground bool
	Helper     bool // mount(8)'s form
}

// Mount makes a new mount and returns once it answers (or, in the foreground,
// once it has ended). Whatever fails, nothing is left.
func (e *Engine) Mount(q Request) (*State, error) {
	r, err := e.resolve(q)
	if err != nil {
		return nil, err
	}
	if err := e.check(r); err != nil {
		return nil, err
	}
	var undo undoer
	if err := e.prepare(r, &undo); err != nil {
		return nil, errors.Join(err, undo.run())
	}
	s, err := e.run(r, q.Foreground)
	if err != nil {
		return nil, errors.Join(err, undo.run())
	}
	return s, nil
}

// undoer takes steps back, last first.
type undoer struct{ steps []func() error }

func (u *undoer) add(f func() error) { u.steps = append(u.steps, f) }

func (u *undoer) run() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	return errors.Join(errs...)
}

// resolve turns what was asked into a record with absolute paths; nothing is made.
func (e *Engine) resolve(q Request) (*Record, error) {
	r := &Record{Version: 1, Name: q.Name, Remove: q.Remove, IO: q.IO, VolumeIO: q.VolumeIO,
		Options: q.Given.Options, Helper: q.Helper, LogLevel: q.LogLevel}
	switch {
	case len(q.Layers) == 0:
		return nil, fail(ErrUsage, "mount", "no layer given: unionmount mount LAYER... MOUNTPOINT")
	case q.Name != "" && !validName(q.Name):
		return nil, fail(ErrUsage, "name "+q.Name, "only letters, digits, '_', '.' and '-' are allowed, a letter or digit first")
	case q.ReadOnly && (q.Upper != "" || q.Given.Upper != ""):
		return nil, fail(ErrUsage, "mount", "a read-only mount has no upper: leave out one of the two")
	case q.Work != "" && q.Upper == "":
		return nil, fail(ErrUsage, "work "+q.Work, "it belongs to an upper: give --upper too")
	}
	if r.Name == "" {
		r.Name = e.generateName()
	}
	var err error
	if r.Mountpoint, err = filepath.Abs(q.Mountpoint); err != nil {
		return nil, err
	}
	for _, l := range q.Layers {
		if l == "" {
			return nil, fail(ErrUsage, "layer", "an empty name: name a directory")
		}
		abs, err := filepath.Abs(l)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(abs); err != nil && filepath.Base(l) == l {
			return nil, fail(ErrNotFound, "layer "+l, "neither a stored layer nor a directory here: give a path")
		}
		r.Layers = append(r.Layers, abs)
	}
	if err := e.resolveUpper(r, q); err != nil {
		return nil, err
	}
	return r, e.resolveVolumes(r, q.Volumes)
}

func (e *Engine) resolveUpper(r *Record, q Request) (err error) {
	switch {
	case q.ReadOnly:
		return nil
	case q.Upper == "":
		if q.Helper {
			return nil
		}
		r.OwnUpper = true
		r.Upper, r.Work = filepath.Join(e.mountDir(r.Name), "upper"), filepath.Join(e.mountDir(r.Name), "work")
		return nil
	}
	if r.Upper, err = filepath.Abs(q.Upper); err != nil {
		return err
	}
	r.Work = filepath.Clean(r.Upper) + ".work"
	if q.Work != "" {
		r.Work, err = filepath.Abs(q.Work)
	}
	return err
}

func (e *Engine) resolveVolumes(r *Record, specs []string) error {
	store := volumes.At(e.Root)
	taken := make(map[string]bool)
	for _, s := range specs {
		v, err := volumes.ParseSpec(s)
		if err != nil {
			return &Error{What: "volume " + s, Kind: kindOf(err), Why: err}
		}
		if taken[v.Target] {
			return fail(ErrUsage, "volume "+s, "duplicate mount point: %s", v.Target)
		}
		taken[v.Target] = true
		ref := VolumeRef{Name: v.Name, Driver: volumes.Local, Source: v.Path, Target: v.Target, ReadOnly: v.ReadOnly}
		if v.Name != "" {
			ref.Source = store.Mountpoint(v.Name)
		} else {
			ref.Driver = WayBind // Docker's word for a host path
		}
		r.Volumes = append(r.Volumes, ref)
	}
	sortByDepth(r.Volumes)
	return nil
}

// generateName draws a name that no mount has.
func (e *Engine) generateName() string {
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(adjectives)*len(nouns))))
		if err != nil {
			panic(err) // the kernel has no random numbers: nothing works
		}
		i := int(n.Int64())
		name := adjectives[i%len(adjectives)] + "-" + nouns[i/len(adjectives)]
		for k := 0; k < 10; k++ {
			if k > 0 {
				name = fmt.Sprintf("%s-%s-%d", adjectives[i%len(adjectives)], nouns[i/len(adjectives)], k)
			}
			if _, err := os.Lstat(e.mountDir(name)); err == nil {
				continue
			}
			if _, err := os.Lstat(e.statePath(name)); err != nil {
				return name
			}
		}
	}
}

var adjectives = [...]string{"amber", "brisk", "calm", "dusty", "early", "fair", "gentle", "hollow", "idle", "jolly", "keen", "lucid",
	"mellow", "noble", "olive", "plain", "quiet", "rapid", "solid", "tidy", "upright", "vivid", "warm", "young"}

var nouns = [...]string{"anchor", "basin", "cedar", "delta", "ember", "field", "glade", "harbor", "island", "juniper", "kettle", "ledge",
	"meadow", "north", "orchard", "pebble", "quarry", "ridge", "shale", "timber", "upland", "valley", "willow", "yard"}

// prepare makes what the mount needs: its record, upper, work, new volumes.
func (e *Engine) prepare(r *Record, undo *undoer) error {
	if !r.Helper {
		if err := e.save(r); err != nil {
			return err
		}
		undo.add(func() error { return errors.Join(removeAll(e.mountDir(r.Name)), e.forget(r.Name)) })
	}
	if r.Upper != "" {
		if err := e.prepareUpper(r, undo); err != nil {
			return err
		}
	}
	return e.prepareVolumes(r, undo)
}

func (e *Engine) prepareUpper(r *Record, undo *undoer) error {
	if r.OwnUpper {
		st, err := os.Stat(r.Layers[0])
		if err != nil {
			return err
		}
		if err := os.Mkdir(r.Upper, 0o700); err != nil {
			return err
		}
		// The root of the union is upper's: it looks like the topmost layer's.
		if err := dress(r.Upper, st); err != nil {
			return err
		}
	}
	err := os.Mkdir(r.Work, 0o700)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return fail(nil, "work "+r.Work, "%w: name a directory on upper's file system with --work", err)
	}
	undo.add(func() error { return removeAll(r.Work) })
	return nil
}

func (e *Engine) prepareVolumes(r *Record, undo *undoer) error {
	store := volumes.At(e.Root)
	for _, v := range r.Volumes {
		if v.Name == "" {
			continue
		}
		_, made, err := store.Create(v.Name, volumes.Local, nil, nil)
		if err != nil {
			return &Error{What: "volume " + v.Name, Kind: kindOf(err), Why: err}
		}
		if made {
			undo.add(func() error { return store.Remove(v.Name) })
		}
	}
	return nil
}

// Start mounts a stopped or dead mount again, at another mountpoint if one is given.
func (e *Engine) Start(name, mountpoint string) (*State, error) {
	r, err := e.load(name)
	if err != nil {
		return nil, err
	}
	kind, s, err := e.state(name)
	switch {
	case err != nil:
		return nil, err
	case kind == Running:
		return nil, fail(ErrConflict, "start "+name, "it is running at %s", r.Mountpoint)
	case kind == Dead:
		if err := e.clearDead(name, s, r); err != nil {
			return nil, err
		}
	}
	if mountpoint != "" {
		if r.Mountpoint, err = filepath.Abs(mountpoint); err != nil {
			return nil, err
		}
	}
	if err := e.check(r); err != nil {
		return nil, err
	}
	if err := e.volumesThere(r); err != nil {
		return nil, err
	}
	if s, err = e.run(r, false); err != nil {
		return nil, err
	}
	if mountpoint != "" {
		err = e.write(r)
	}
	return s, err
}

// volumesThere makes sure that named volumes still are: an empty one in the place of lost data would be worse.
func (e *Engine) volumesThere(r *Record) error {
	store := volumes.At(e.Root)
	for _, v := range r.Volumes {
		if v.Name == "" {
			continue
		}
		if _, err := store.Get(v.Name); err != nil {
			return &Error{What: "start " + r.Name, Kind: kindOf(err), Why: err}
		}
	}
	return nil
}
