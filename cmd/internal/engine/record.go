package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
)

// Record is a mount as it was asked for: what start needs to make it again.
type Record struct {
	Version    int
	Name       string
	Mountpoint string   // absolute, links resolved
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

// Options are what -o says about a union.
type Options struct {
	Redirect    string
	UserXattr   bool
	Volatile    bool
	Metacopy    bool
	NoACL       bool
	StaticNlink bool
	HoldBack    string // writeback=on or off; empty: on where the kernel can be told how much to hold back. Records once had a bool Writeback
	TimeoutMs   int64
	Coherent    bool // --cache=off
	FSName      string
	AllowOther  bool
	Words       []string // mount(8)'s
	Ignored     []string // accepted, without a meaning here
}

func (r *Record) config() unionfs.Config {
	return unionfs.Config{
		Lowers: r.Layers, Upper: r.Upper, Work: r.Work,
		Redirect: unionfs.Redirect(r.Options.Redirect), UserXattr: r.Options.UserXattr,
		Volatile: r.Options.Volatile, NoACL: r.Options.NoACL, Metacopy: r.Options.Metacopy, StaticNlink: r.Options.StaticNlink,
		Writeback: r.Options.HoldBack == "on" || r.Options.HoldBack == "" && sys.CanLimitWriteback(),
		Timeout:   time.Duration(r.Options.TimeoutMs) * time.Millisecond, Coherent: r.Options.Coherent,
		FSName: r.Options.FSName, AllowOther: r.Options.AllowOther, MountFlags: r.Options.Words,
	}
}

// volumeNames are the named volumes, each once.
func (r *Record) volumeNames() (names []string) {
	for _, v := range r.Volumes {
		if v.Name != "" && !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
	}
	return names
}

func (r *Record) text() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

// write makes or replaces a record's file.
func (e *Engine) write(r *Record) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.mountDir(r.Name), 0o700); err != nil {
		return err
	}
	return writeSynced(e.config(r.Name), text, 0o600)
}

// load reads one record from its file. ErrNotFound names it.
func (e *Engine) load(name string) (*Record, error) {
	if !validName(name) {
		return nil, noMount(name)
	}
	text, err := os.ReadFile(e.config(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noMount(name)
	}
	if err != nil {
		return nil, err
	}
	r := new(Record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fail(nil, "mount "+name, "read its record %s: %w: correct it, or remove %s", e.config(name), err, e.mountDir(name))
	}
	if r.Version > version {
		return nil, fail(ErrUnsupported, "mount "+name, "its record %s is of version %d: use the unionmount that wrote it", e.config(name), r.Version)
	}
	return r, nil
}

func noMount(name string) error {
	return fail(ErrNotFound, name, "no such mount: unionmount ls -a lists them")
}

// recorded tells whether a mount of that name has a record.
func (e *Engine) recorded(name string) bool {
	_, err := os.Stat(e.config(name))
	return validName(name) && err == nil
}

// writeSynced replaces a file by one rename of finished content.
func writeSynced(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

const maxName = 128

// validName is the rule for names of mounts: that of volumes, one letter allowed.
func validName(name string) bool {
	if name == "" || len(name) > maxName || strings.ContainsRune(".-_", rune(name[0])) {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func checkName(name string) error {
	if validName(name) {
		return nil
	}
	return fail(ErrUsage, fmt.Sprintf("name %q", name), "only letters, digits, '_', '.' and '-' are allowed, a letter or digit first, %d at most", maxName)
}
