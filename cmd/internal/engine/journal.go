package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// The journal tells what happened to mounts and volumes, one JSON object a line.
// Commands and daemons append to it; two files of journalSize bound it.
const (
	journalSize = 4 << 20
	journalFile = "events.json"
	journalOld  = "events.1.json" // the one before
)

// Types of events.
const (
	TypeMount  = "mount"
	TypeVolume = "volume"
)

// Event is one thing that happened, with Docker's keys.
type Event struct {
	Type     string
	Action   string
	Actor    Actor
	Scope    string `json:"scope"`
	Time     int64  `json:"time"`     // seconds
	TimeNano int64  `json:"timeNano"` // the same in nanoseconds
}

// Actor is what an event happened to.
type Actor struct {
	ID         string // the name
	Attributes map[string]string
}

// note appends an event. What can't be written is said on stderr (a daemon's log)
// and stops nobody: the journal tells, it doesn't decide.
func (e *Engine) note(kind, action, name string, attributes map[string]string) {
	now := time.Now()
	if attributes == nil {
		attributes = map[string]string{}
	}
	line, err := json.Marshal(Event{kind, action, Actor{name, attributes}, "local", now.Unix(), now.UnixNano()})
	if err == nil {
		err = e.appendJournal(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "unionmount: note %s %s %s: %v\n", kind, action, name, err)
	}
}

// appendJournal writes whole lines while it holds the file's lock: whoever
// moves a full one away has it too.
func (e *Engine) appendJournal(line []byte) error {
	path := filepath.Join(e.Root, journalFile)
	for end := time.Now().Add(patienceStart); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody removed the root under a daemon: it isn't made again
		}
		if err != nil {
			return err
		}
		err = sys.Flock(int(f.Fd()), true)
		if err == nil && isAt(f, path) {
			return errors.Join(e.appendLocked(f, line), f.Close())
		}
		_ = f.Close()
		if err != nil && err != sys.EWOULDBLOK || time.Now().After(end) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (e *Engine) appendLocked(f *os.File, line []byte) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	if st.Size() < journalSize {
		return nil
	}
	return os.Rename(f.Name(), filepath.Join(e.Root, journalOld))
}

// journal reads on in the two files: a follower's position.
type journal struct {
	root string
	file *os.File // the one being read; nil: there is none yet
	rest []byte   // of a line whose end isn't there yet
}

// next calls visit for each event that was appended since the last call.
func (j *journal) next(visit func(Event) error) error {
	if j.file == nil {
		f, err := os.Open(filepath.Join(j.root, journalFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		j.file = f
	}
	moved := !isAt(j.file, filepath.Join(j.root, journalFile)) // asked first: nobody appends to it any more
	if err := j.read(visit); err != nil || !moved {
		return err
	}
	err := j.file.Close()
	j.file, j.rest = nil, nil
	if err != nil {
		return err
	}
	return j.next(visit)
}

func (j *journal) read(visit func(Event) error) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := j.file.Read(buf)
		j.rest = append(j.rest, buf[:n]...)
		for {
			line, rest, ok := bytes.Cut(j.rest, []byte("\n"))
			if !ok {
				break
			}
			j.rest = rest
			var v Event
			if json.Unmarshal(line, &v) != nil {
				continue // cut short by a crash
			}
			if err := visit(v); err != nil {
				return err
			}
		}
		if n == 0 || err != nil {
			return nil
		}
	}
}

// older calls visit for each event in the file that was moved away.
func (j *journal) older(visit func(Event) error) error {
	f, err := os.Open(filepath.Join(j.root, journalOld))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old := journal{file: f}
	return errors.Join(old.read(visit), f.Close())
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close() // read only
	}
}
