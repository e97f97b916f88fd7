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
	Version   int
	Record    Record
	Ready     bool // false: it is starting, nothing answers yet
	Pid       int
	StartedAt time.Time
	IO        string   // the connection: cached or open
	VolumeIO  []string // of each volume: bind or fuse
	Transport string   // how requests arrive: device or io_uring; "" until it is mounted
	Dev       string   // of the union's mount, as in mountinfo; "" until it is mounted
	Binds     []int    // mount ids of the bind volumes, in the order they were made
	Marks     string   // namespace of upper's marks
}

// States of a mount.
const (
	Running = "running"
	Stopped = "stopped"
	Dead    = "dead"
)

// lease is the flocked state file of a mount: whoever has it is the only one who
// starts, serves or removes that mount. It dies with its holder.
type lease struct {
	file *os.File
	path string
}

// hold creates the state file and takes its lock. A daemon that is just ending,
// or a command that asks for the state, is waited for; ErrConflict after that.
func (e *Engine) hold(name string) (*lease, error) {
	path := e.statePath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, e.unwritable("mount "+name, err)
	}
	for end := time.Now().Add(patienceStart); ; time.Sleep(5 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, e.unwritable("mount "+name, err)
		}
		err = sys.Flock(int(f.Fd()), true)
		if err == nil && isAt(f, path) {
			return &lease{f, path}, nil
		}
		_ = f.Close()
		switch {
		case err != nil && err != sys.EWOULDBLOK:
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Now().After(end):
			return nil, fail(ErrConflict, "mount "+name, "it is running already, or being started or removed: unionmount ls tells")
		}
	}
}

// isAt tells whether f is still the file at path: its last holder removes it.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// announce writes the state into the held file.
func (l *lease) announce(s *State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt(text, 0)
	return err
}

// amend changes what a daemon has announced, without its lock: in one write, that
// is no shorter than what it replaces.
func (s *State) amend(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		blanks := max(0, int(st.Size())-len(text))
		_, err = f.WriteAt(append(text, strings.Repeat(" ", blanks)...), 0)
	}
	return errors.Join(err, f.Close())
}

// release removes the state file and gives up the lock: the mount is stopped.
func (l *lease) release() error {
	return errors.Join(os.Remove(l.path), l.file.Close())
}

// state reads a mount's state: the daemon's own words while it holds the lock.
// Words that can't be read (a daemon at its very first step, or one killed there) give a nil State.
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
	switch err := sys.Flock(int(f.Fd()), false); {
	case err == nil && !isAt(f, f.Name()):
		return Stopped, nil, nil // the daemon ended in order, just now
	case err == nil:
		kind = Dead
	case err != sys.EWOULDBLOK:
		return "", nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s := new(State)
	if err := json.NewDecoder(f).Decode(s); err != nil {
		return kind, nil, nil
	}
	if s.Version > version {
		return "", nil, fail(ErrUnsupported, "mount "+name, "its state %s is of version %d: use the unionmount that wrote it", f.Name(), s.Version)
	}
	return kind, s, nil
}

// live lists the names that have a state file: running and dead mounts.
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

// awaitState waits until done says so of the state, for a bounded time.
func (e *Engine) awaitState(name string, patience time.Duration, done func(kind string, s *State) bool) (string, *State, error) {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		kind, s, err := e.state(name)
		if err != nil || done(kind, s) || time.Now().After(end) {
			return kind, s, err
		}
	}
}

// settled is the state of a mount that is neither starting nor ending: the
// kernel does not wait for a daemon whose mount it takes away.
func (e *Engine) settled(name string) (string, *State, error) {
	return e.awaitState(name, patienceStart, func(kind string, s *State) bool {
		return kind != Running || s != nil && s.Ready && s.mounted()
	})
}

// mounted tells whether the union of s is in our mount namespace.
func (s *State) mounted() bool {
	_, found, err := s.find()
	return err != nil || found
}

// find looks the union's mount up.
func (s *State) find() (m sys.Mount, found bool, err error) {
	mounts, err := mountTable()
	if err != nil {
		return m, false, err
	}
	for _, m := range mounts {
		if m.Dev == s.Dev && m.Type == unionType && m.Target == s.Record.Mountpoint {
			return m, true, nil
		}
	}
	return m, false, nil
}

func mountTable() ([]sys.Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sys.ParseMounts(f)
}
