package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
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

// run serves r, in this process or in a daemon, and returns once it answers.
func (e *Engine) run(r *Record, foreground bool) (*State, error) {
	if foreground {
		return e.serve(r, func(*State) {})
	}
	s, err := e.spawn(r)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// spawn starts the daemon. It has a session of its own and none of our
// descriptors, so that whoever waits for the end of our output gets it.
func (e *Engine) spawn(r *Record) (*State, error) {
	if err := os.MkdirAll(filepath.Dir(e.logPath(r.Name)), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(e.logPath(r.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	said, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	text, err := json.Marshal(order{e.Root, *r})
	if err != nil {
		return nil, errors.Join(err, say.Close())
	}
	cmd := exec.Command("/proc/self/exe", DaemonArg)
	cmd.Args[0] = "unionmount"
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{say}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, say.Close())
	}
	err = cmd.Start()
	_ = say.Close() // the daemon has it
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	_, err = stdin.Write(text)
	if err := errors.Join(err, stdin.Close()); err != nil {
		return nil, fmt.Errorf("instruct the daemon: %w", err)
	}
	var a answer
	if err := json.NewDecoder(said).Decode(&a); err != nil {
		waitErr := cmd.Wait()
		return nil, fmt.Errorf("the daemon ended without a word (%v): %s", waitErr, lastLine(e.logPath(r.Name)))
	}
	if a.State == nil {
		_ = cmd.Wait() // it has said why it ends
		return nil, &Error{What: a.What, Kind: kinds[a.Kind], Why: errors.New(a.Why)}
	}
	return a.State, cmd.Process.Release()
}

func lastLine(path string) (last string) {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if line := strings.TrimSpace(sc.Text()); line != "" {
			last = line
		}
	}
	return last
}

// Daemon is the serving process: it reads its order, answers once, and serves until the mount is gone.
func Daemon() int {
	say := os.NewFile(3, "answer")
	syscall.CloseOnExec(3)
	text, err := io.ReadAll(os.Stdin)
	var o order
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "read the order:", err)
		return 1
	}
	e := &Engine{Root: o.Root}
	_, err = e.serve(&o.Record, func(s *State) {
		// The command may be gone: then nobody waits for the answer.
		_ = json.NewEncoder(say).Encode(answer{State: s})
		_ = say.Close()
	})
	if err == nil {
		return 0
	}
	a := answer{What: "mount " + o.Record.Mountpoint, Kind: kindName(err), Why: err.Error()}
	var known *Error
	if errors.As(err, &known) {
		a.What, a.Why = known.What, known.Why.Error()
	}
	_ = json.NewEncoder(say).Encode(a)
	return 1
}

func logger(level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// serve assembles, mounts, attaches, announces and serves; it returns when the mount is gone.
func (e *Engine) serve(r *Record, ready func(*State)) (*State, error) {
	way, err := chooseVolumeIO(r)
	if err != nil {
		return nil, err
	}
	io, err := chooseIO(r, way)
	if err != nil {
		return nil, err
	}
	lease, err := e.hold(r.Name)
	if err != nil {
		return nil, err
	}
	s := &State{Record: *r, Pid: os.Getpid(), StartedAt: time.Now(), IO: string(io)}
	for range r.Volumes {
		s.VolumeIO = append(s.VolumeIO, way)
	}
	cfg := r.config()
	cfg.IO, cfg.Log = io, logger(r.LogLevel)
	if err := e.serveHeld(cfg, s, lease, way, ready); err != nil {
		return nil, errors.Join(err, os.Remove(e.statePath(r.Name)), lease.Close())
	}
	err = e.ended(r)
	return s, errors.Join(err, os.Remove(e.statePath(r.Name)), lease.Close())
}

func (e *Engine) serveHeld(cfg unionfs.Config, s *State, lease *os.File, way string, ready func(*State)) error {
	fs, err := unionfs.Open(cfg)
	if err != nil {
		return &Error{What: "mount " + s.Record.Mountpoint, Kind: kindOf(err), Why: err}
	}
	s.Marks = fs.Marks()
	if err := fs.Mount(s.Record.Mountpoint); err != nil {
		return errors.Join(err, fs.Close())
	}
	if err := e.attach(s, lease, way); err != nil {
		err = errors.Join(err, e.unmountAll(s, true))
		fs.Wait()
		return errors.Join(err, fs.Close())
	}
	ready(s)
	fs.Wait()
	e.detached(s)
	return fs.Close()
}

// attach binds the volumes and announces the mount.
func (e *Engine) attach(s *State, lease *os.File, way string) error {
	if way == WayBind && len(s.Record.Volumes) > 0 {
		if err := bindVolumes(s); err != nil {
			return err
		}
		if err := e.pointTo(s); err != nil {
			return err
		}
	}
	return announce(lease, s)
}

// bindVolumes lays each volume over its route, parents first.
func bindVolumes(s *State) error {
	root, err := sys.Open(s.Record.Mountpoint, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(root)
	for _, v := range s.Record.Volumes {
		id, err := sys.BindInto(root, v.Target, v.Source, v.ReadOnly)
		if err == sys.ENOENT { // below a volume bound already: its own tree has no such directory yet
			if err = sys.MkdirInto(root, v.Target); err == nil {
				id, err = sys.BindInto(root, v.Target, v.Source, v.ReadOnly)
			}
		}
		if err != nil {
			return fail(kindOf(err), "volume "+v.Target, "bind %s: %w", v.Source, err)
		}
		s.Binds = append(s.Binds, id)
	}
	return nil
}

// ended drops what --rm says to drop.
func (e *Engine) ended(r *Record) error {
	if !r.Remove || r.Helper {
		return nil
	}
	return removeAll(e.mountDir(r.Name))
}
