package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/volumes/catalog"
)

// Record is a mount as it was asked for: what start needs to make it again.
type Record struct {
	Version    int
	Name       string
	Mountpoint string
	Layers     []string // topmost first, absolute
	Upper      string   // "": read-only
	Work       string
	OwnUpper   bool // upper is kept below the root and goes with rm
	Remove     bool // --rm
	Volumes    []VolumeRef
	IO         string // as asked: auto, open, cached
	VolumeIO   string // as asked: auto, bind, fuse
	Options    Options
	Helper     bool // made by mount(8)'s form: recorded only while it lives
	LogLevel   string
}

// VolumeRef is a volume as a mount refers to it.
type VolumeRef struct {
	Name     string // "" for a host path
	Driver   string
	Source   string
	Target   string
	ReadOnly bool
}

// Options are what -o says about a union.
type Options struct {
	Redirect    string
	UserXattr   bool
	Volatile    bool
	NoACL       bool
	StaticNlink bool
	TimeoutMs   int64
	Coherent    bool // --cache=off
	FSName      string
	AllowOther  bool
	Words       []string // mount(8)'s
}

func (r *Record) config() unionfs.Config {
	c := unionfs.Config{
		Lowers: r.Layers, Upper: r.Upper, Work: r.Work,
		Redirect: unionfs.Redirect(r.Options.Redirect), UserXattr: r.Options.UserXattr,
		Volatile: r.Options.Volatile, NoACL: r.Options.NoACL, StaticNlink: r.Options.StaticNlink,
		Timeout: msec(r.Options.TimeoutMs), Coherent: r.Options.Coherent,
		FSName: r.Options.FSName, AllowOther: r.Options.AllowOther, MountFlags: r.Options.Words,
	}
	for _, v := range r.Volumes {
		c.Volumes = append(c.Volumes, unionfs.Volume{Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly})
	}
	return c
}

// Engine works below one root.
type Engine struct{ Root string }

func (e *Engine) mountDir(name string) string  { return filepath.Join(e.Root, "mounts", name) }
func (e *Engine) config(name string) string    { return filepath.Join(e.mountDir(name), "config.json") }
func (e *Engine) statePath(name string) string { return filepath.Join(e.Root, "run", name+".json") }
func (e *Engine) logPath(name string) string   { return filepath.Join(e.Root, "log", name+".log") }

const kindMount = "mount"

// save writes the record of a new mount; ErrConflict if the name is taken.
func (e *Engine) save(r *Record) error {
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		if _, err := os.Stat(e.config(r.Name)); err == nil {
			return fail(ErrConflict, "mount "+r.Name, "the name is taken: choose another, or unionmount rm %s", r.Name)
		}
		if err := e.write(r); err != nil {
			return err
		}
		return tx.Put(kindMount, r.Name, nil)
	})
}

// update writes a record anew.
func (e *Engine) write(r *Record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.mountDir(r.Name), 0o700); err != nil {
		return err
	}
	return writeSynced(e.config(r.Name), append(text, '\n'))
}

// writeSynced replaces a file by one rename of finished content.
func writeSynced(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// forget removes the record.
func (e *Engine) forget(name string) error {
	return catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error { return tx.Delete(kindMount, name) })
}

// rebuild refills the catalogue from the directories.
func (e *Engine) rebuild(tx catalog.Tx) error {
	dirs, err := os.ReadDir(filepath.Join(e.Root, "mounts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if _, err := os.Stat(e.config(d.Name())); err == nil {
			if err := tx.Put(kindMount, d.Name(), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// load reads one record. ErrNotFound names it.
func (e *Engine) load(name string) (*Record, error) {
	if !validName(name) {
		return nil, fail(ErrNotFound, name, "no such mount: unionmount ls -a lists them")
	}
	text, err := os.ReadFile(e.config(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(ErrNotFound, name, "no such mount: unionmount ls -a lists them")
	}
	if err != nil {
		return nil, err
	}
	r := new(Record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", e.config(name), err)
	}
	return r, nil
}

// names lists the recorded mounts and drops records whose mount has gone (--rm).
func (e *Engine) names() (names []string, err error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) error {
		var gone []string
		if err := tx.Each(kindMount, func(name string, _ []byte) error {
			if _, err := os.Stat(e.config(name)); errors.Is(err, fs.ErrNotExist) {
				gone = append(gone, name)
				return nil
			}
			names = append(names, name)
			return nil
		}); err != nil {
			return err
		}
		for _, name := range gone {
			if err := tx.Delete(kindMount, name); err != nil {
				return err
			}
		}
		return nil
	})
	sort.Strings(names)
	return names, err
}

// validName is the rule for names of mounts: that of volumes, one letter allowed.
func validName(name string) bool {
	if name == "" || len(name) > 128 || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
