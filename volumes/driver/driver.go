// Package driver knows how a volume's data comes to be, appears at a path, and
// goes: one file a driver. It keeps no record and counts nobody: what a volume is
// stands in its caller's options file, who uses it in its caller's leases, which
// both survive a kill -9.
//
// The caller serialises the calls for one volume among all processes (Create,
// Remove, and "take a lease and Mount", "find no lease left and Unmount"); calls
// for different volumes run at the same time. Every call ends with its context.
package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the drivers that are built in; any other is a Docker volume plugin's.
const (
	Local = "local"
	Btrfs = "btrfs"
)

// BuiltIn tells whether a driver is ours, by the name that a volume's record has.
func BuiltIn(name string) bool { return name == Local || name == Btrfs }

// DataDir is where below Volume.Dir the data is, or is mounted, but for a
// plugin's, which says itself where.
const DataDir = "_data"

// Errors that callers tell apart; the text of the error says all, in Docker's words.
var (
	ErrBadOption   = errors.New("bad option")
	ErrUnsupported = errors.New("not supported here") // by this machine, file system or user
	ErrInUse       = errors.New("in use")
	ErrNotFound    = errors.New("not found") // the driver, or the volume by its driver
	ErrExists      = errors.New("exists")    // a plugin's volume, before it is created
	ErrRefused     = errors.New("refused")   // by a plugin, which heard it: to ask again is no use
)

// Volume is what a driver is told of a volume.
type Volume struct {
	Name    string
	Driver  string // "" is Local
	Dir     string // its directory; Create's may have another name than later calls'
	Options map[string]string
}

func (v Volume) data() string { return filepath.Join(v.Dir, DataDir) }

// Driver carries one volume. An implementation is a value without state.
type Driver interface {
	// Create makes the volume. Dir is there, empty and invisible; the caller
	// syncs and publishes it afterwards. If Create fails, nothing outside Dir is left.
	// ErrExists: a plugin has one of the name already, with what it holds. The caller may
	// take it as it is, but never give it up as something it made.
	Create(ctx context.Context) error

	// Remove gives up what Create made, but for a plain tree below Dir, which is the
	// caller's to delete, and for what the user made (the device, the remote directory).
	// A plugin's is called before the name vanishes; the others' after that, with the Dir
	// that the volume has by then. It is called again if it was interrupted: what is
	// gone already is no error. ErrInUse: something still uses it, and nothing is gone.
	Remove(ctx context.Context) error

	// Mount makes the data appear for the holder id, and says where. A plugin counts
	// its holders by id; with the others only the first call mounts, and what is
	// mounted already, also by a process that was killed since, is fine.
	Mount(ctx context.Context, id string) (path string, err error)

	// Unmount is Mount's end, called once for each holder, by it or after it was
	// killed. last: the caller found no other. What isn't mounted is fine. ErrInUse: it
	// stays mounted, and whole.
	Unmount(ctx context.Context, id string, last bool) error

	// Inspect asks for the volume's state, changing nothing.
	Inspect(ctx context.Context) (State, error)
}

// State is what a driver says of its volume.
type State struct {
	Mountpoint string         // where the data is, or would be; "" if a plugin doesn't say
	Scope      string         // "local", or "global": the same on every host
	Status     map[string]any // the driver's own words; nil if none
}

// Method says how a Snapshotter copies, for the user to read.
type Method struct {
	Name string // as in "btrfs snapshot"
	Cost string // as in "no data is copied"
}

// Snapshotter is a Driver that freezes a volume at one instant, also while it is
// in use. With any other the caller copies the tree at Mount's path.
type Snapshotter interface {
	Driver

	// Method says how, before anything is done.
	Method() Method

	// Plan returns the options by which to, a volume of the same driver whose Dir is
	// staged as for Create, will be opened. Nothing is made; the caller writes them down
	// first, so that what a kill leaves of Snapshot is found, and deleted by Remove.
	// readOnly: nothing can write to it.
	Plan(ctx context.Context, to Volume, readOnly bool) (options map[string]string, err error)

	// Snapshot makes to, which has the options of Plan, hold what this volume holds now.
	// A snapshot is a volume: it is cloned by Snapshot, mounted by Mount and deleted by
	// Remove. If Snapshot fails, nothing outside Dir is left.
	Snapshot(ctx context.Context, to Volume, readOnly bool) error
}

// Open reads the options of a volume and returns its driver. A bad or missing
// option is ErrBadOption, an unknown driver ErrNotFound. Nothing is changed and
// no plugin asked.
func Open(v Volume) (Driver, error) {
	switch v.Driver {
	case "", Local:
		return openLocal(v)
	case Btrfs:
		return openBtrfs(v)
	}
	return openPlugin(v)
}

// failure is an error of a kind that isn't printed.
type failure struct {
	kind error
	why  error
}

func (f *failure) Error() string   { return f.why.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.why} }

func fail(kind error, format string, a ...any) error {
	return &failure{kind, fmt.Errorf(format, a...)}
}

// makeData makes the data directory, whatever the umask.
func makeData(dir string, mode os.FileMode) error {
	return errors.Join(os.Mkdir(dir, mode), os.Chmod(dir, mode))
}
