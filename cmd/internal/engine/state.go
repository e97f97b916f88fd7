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
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// State is what a serving daemon says about itself, in <root>/run/NAME.json,
// which it keeps flocked for its whole life.
type State struct {
	Record    Record
	Pid       int
	StartedAt time.Time
	IO        string   // the connection: cached or open
	VolumeIO  []string // of each volume: bind or fuse
	Binds     []int    // mount ids of the bind volumes, in the order they were made
	Marks     string
}

// States of a mount.
const (
	Running = "running"
	Stopped = "stopped"
	Dead    = "dead"
)

// hold creates the state file and takes its lock. The descriptor is the lease.
func (e *Engine) hold(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(e.Root, "run"), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(e.statePath(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// A command that asks for the state holds the lock for an instant.
	for range 200 {
		if err = sys.Flock(int(f.Fd()), true); err == nil {
			return f, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = f.Close()
	return nil, fail(ErrConflict, "mount "+name, "it is running already: unionmount umount %s", name)
}

// announce writes the state into the held file.
func announce(f *os.File, s *State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return err
}

// state reads a mount's state: the daemon's own words while it holds the lock.
func (e *Engine) state(name string) (string, *State, error) {
	f, err := os.Open(e.statePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Stopped, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	kind := Running
	if err := sys.Flock(int(f.Fd()), false); err == nil {
		kind = Dead
		if _, err := os.Stat(e.statePath(name)); errors.Is(err, fs.ErrNotExist) {
			return Stopped, nil, nil // the daemon ended in order, just now
		}
	}
	s := new(State)
	if err := json.NewDecoder(f).Decode(s); err != nil {
		if kind == Running {
			return kind, nil, nil // it is starting
		}
		return Dead, nil, nil
	}
	return kind, s, nil
}

// live lists the names that have a state file.
func (e *Engine) live() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(e.Root, "run"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, d := range entries {
		if name, ok := strings.CutSuffix(d.Name(), ".json"); ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, err
}

// awaitEnd waits until the daemon of a mount has let go of its lock.
func (e *Engine) awaitEnd(name string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		kind, _, err := e.state(name)
		if err != nil || kind != Running {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("its daemon is still there after %s", patience)
		}
	}
}

func msec(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
