package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// DaemonArg is the hidden first argument of the serving process.
const DaemonArg = "_serve"

// order is what the command hands to the daemon.
type order struct {
	Root   string
	Record Record
}

// answer is what the daemon says once: it serves, or why not.
type answer struct {
	State *State
	What  string
	Kind  string
	Why   string
}

// kinds carries the kind of an error through the pipe.
var kinds = map[string]error{"usage": ErrUsage, "notfound": ErrNotFound, "conflict": ErrConflict, "unsupported": ErrUnsupported}

func kindName(err error) string {
	kind := kindOf(err)
	for name, k := range kinds {
		if k == kind {
			return name
		}
	}
	return ""
}

// spawn starts the daemon and returns once the mount answers. The daemon has a
// session of its own and none of our descriptors, so that whoever waits for the
// end of our output gets it.
func (e *Engine) spawn(r *Record) (*State, error) {
	log, err := e.openLog(r.Name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	said, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	_ = sys.KeepFromChildren(3) // an old kernel can't: then a caller's own descriptors stay open
	cmd := exec.Command("/proc/self/exe", DaemonArg)
	cmd.Args[0] = "unionmount"
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{say}
	cmd.SysProcAttr = ownSession()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, say.Close())
	}
	err = cmd.Start()
	_ = say.Close() // the daemon has it
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	err = json.NewEncoder(stdin).Encode(order{e.Root, *r})
	if err := errors.Join(err, stdin.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("instruct the daemon: %w", err), cmd.Wait())
	}
	return e.hear(r, said, cmd)
}

// hear waits for the daemon's one answer.
func (e *Engine) hear(r *Record, said io.Reader, cmd *exec.Cmd) (*State, error) {
	var a answer
	if err := json.NewDecoder(said).Decode(&a); err != nil {
		waitErr := cmd.Wait()
		err := fail(nil, "mount "+r.Mountpoint, "the daemon ended without a word (%v): %s", waitErr, e.lastWord(r.Name))
		kind, s, stateErr := e.state(r.Name)
		if kind == Dead {
			stateErr = errors.Join(stateErr, e.clearDead(r.Name, s))
		}
		return nil, errors.Join(err, stateErr)
	}
	if a.State == nil {
		_ = cmd.Wait()                             // it has said why it ends
		if strings.Contains(a.Why, "fusermount") { // which told its reason to the log
			a.Why = strings.TrimSpace(a.Why) + ": " + e.lastWord(r.Name)
		}
		return nil, &Error{What: a.What, Kind: kinds[a.Kind], Why: errors.New(a.Why)}
	}
	return a.State, cmd.Process.Release()
}

func (e *Engine) openLog(name string) (*os.File, error) {
	err := os.MkdirAll(filepath.Dir(e.logPath(name)), 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(e.logPath(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			return f, nil
		}
	}
	return nil, e.unwritable("mount "+name, err)
}

// unwritable says what to do when nothing can be made below the root.
func (e *Engine) unwritable(what string, err error) error {
	return fail(nil, what, "%w: make room below %s for this user, or give --root DIR", err, e.Root)
}

// lastWord is the last line of a mount's log.
func (e *Engine) lastWord(name string) (last string) {
	f, err := os.Open(e.logPath(name))
	if err != nil {
		return "no log"
	}
	defer f.Close()
	last = "nothing in " + e.logPath(name)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if line := strings.TrimSpace(sc.Text()); line != "" {
			last = line
		}
	}
	return last
}
