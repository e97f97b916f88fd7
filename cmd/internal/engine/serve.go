package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/volumes"
)

// server is one mount being served by this process.
type server struct {
	engine *Engine
	lease  *lease
	state  *State
	way    string // into the volumes
	log    *slog.Logger

	volumes attached
	made    []sys.Made // in volumes, for volumes nested there, until all are attached
}

// serve assembles, mounts, attaches, announces and serves; it returns when the
// mount is gone. ready is told once everything is attached; if it fails, or
// anything before it, nothing is left mounted.
func (e *Engine) serve(r *Record, ready func(*State) error) error {
	way, err := chooseVolumeIO(r)
	if err != nil {
		return err
	}
	io, err := chooseIO(r, way)
	if err != nil {
		return err
	}
	s := &server{engine: e, way: way, log: logger(r.LogLevel),
		state: &State{Version: version, Record: *r, Pid: os.Getpid(), StartedAt: time.Now(), IO: string(io)}}
	for range r.Volumes {
		s.state.VolumeIO = append(s.state.VolumeIO, way)
	}
	if s.lease, err = e.hold(r.Name); err != nil {
		return err
	}
	// Announced before anything is mounted: whoever finds us killed knows what to clear up.
	if err = s.lease.announce(s.state); err == nil {
		cfg := r.config()
		cfg.IO, cfg.Log = io, s.log
		err = s.serve(cfg, ready)
	}
	return errors.Join(err, s.leave())
}

// leave detaches the volumes and says that the mount is stopped: first the one,
// then the other, unless a driver takes its time.
func (s *server) leave() error {
	detached := make(chan error, 1)
	go func() {
		err := s.detachVolumes()
		if s.state.Record.Remove {
			err = errors.Join(err, s.engine.removeAnonymous(&s.state.Record))
		}
		detached <- err
	}()
	var err error
	select {
	case err = <-detached:
		return errors.Join(err, s.lease.release())
	case <-time.After(patienceDetach):
		s.log.Warn("the mount has ended; a driver still detaches its volume")
		err = s.lease.release()
	}
	return errors.Join(err, <-detached)
}

func (s *server) serve(cfg unionfs.Config, ready func(*State) error) error {
	r := &s.state.Record
	for _, o := range r.Options.Ignored {
		s.log.Info("option without a meaning here", "option", o)
	}
	union, err := s.open(cfg)
	if err != nil {
		return err
	}
	s.state.Marks = union.Marks()
	if err := s.attachVolumes(union); err != nil {
		return errors.Join(err, union.Close())
	}
	caught := catchSignals() // before anybody sees the mount: to be killed now would leave it
	if err := union.Mount(r.Mountpoint); err != nil {
		return errors.Join(blame("mount "+r.Mountpoint, err), union.Close())
	}
	s.state.Transport = union.Transport()
	s.log.Info("mounted", "io", s.state.IO, "transport", s.state.Transport)
	if err := s.attach(ready); err != nil {
		err = errors.Join(err, unmountAll(s.state, s.lease.path, true))
		for _, m := range slices.Backward(s.made) {
			err = errors.Join(err, m.Undo())
		}
		union.Wait()
		return errors.Join(err, s.engine.unpoint(s.state), union.Close())
	}
	stop := onSignal(caught, s.end)
	still := onSignal(catchQuestions(), func() {
		nodes, open := union.Held()
		s.log.Info("holds", "goroutines", runtime.NumGoroutine(), "nodes", nodes, "open", open)
	})
	union.Wait()
	stop()
	still()
	s.engine.note(TypeMount, "stop", r.Name, map[string]string{"mountpoint": r.Mountpoint})
	return errors.Join(s.engine.unpoint(s.state), union.Close(), s.dropped())
}

// open opens the union. The kernel does not wait for the daemon of a mount it
// takes away, so an upper in use may be one whose mount just ended.
func (s *server) open(cfg unionfs.Config) (union *unionfs.FS, err error) {
	for end := time.Now().Add(patienceStart); ; time.Sleep(20 * time.Millisecond) {
		if union, err = unionfs.Open(cfg); err == nil || !errors.Is(err, unionfs.ErrInUse) || time.Now().After(end) {
			if errors.Is(err, sys.EMFILE) {
				err = fmt.Errorf("%w: raise the limit with ulimit -n", err)
			}
			return union, blame("mount "+s.state.Record.Mountpoint, err)
		}
	}
}

// attach binds the volumes, announces the mount and tells ready.
func (s *server) attach(ready func(*State) error) error {
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	m, found := topmost(mounts, s.state.Record.Mountpoint)
	if !found || m.Type != unionType {
		return fail(nil, "mount "+s.state.Record.Mountpoint, "it vanished at once")
	}
	s.state.Dev = m.Dev
	if s.way == WayBind && len(s.state.Record.Volumes) > 0 {
		if err := s.bind(m); err != nil {
			return err
		}
	}
	s.state.Ready = true
	if err := s.lease.announce(s.state); err != nil {
		return err
	}
	s.engine.note(TypeMount, "start", s.state.Record.Name, map[string]string{"mountpoint": s.state.Record.Mountpoint})
	for _, m := range s.made {
		m.Keep()
	}
	s.made = nil
	return ready(s.state)
}

// end unmounts at a signal; what is busy is detached and ends when nobody uses it.
func (s *server) end() {
	now := s.state
	if _, amended, err := s.engine.state(now.Record.Name); err == nil && amended != nil {
		now = amended // a command may have bound volumes again
	}
	err := unmountAll(now, s.lease.path, false)
	if err != nil {
		s.log.Warn("told to end while in use: detached, serving until nobody uses it", "err", err)
		err = unmountAll(now, s.lease.path, true)
	}
	if err != nil {
		s.log.Error("unmount", "err", err)
	}
}

// dropped removes what goes with the end of the mount: with --rm all that is
// kept of it, with mount(8)'s form its log.
func (s *server) dropped() error {
	r := &s.state.Record
	if !r.Remove && !r.Helper {
		return nil
	}
	err := os.Remove(s.engine.logPath(r.Name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if r.Remove && !r.Helper {
		err = errors.Join(err, volumes.RemoveTree(s.engine.mountDir(r.Name)))
	}
	return err
}
