package engine

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/plugin"
)

// volumeServer is unionmount as a Docker volume plugin. Each holder that a client
// names has a lease on its volume, as a mount has. Who holds what is kept in a file
// too: a server that is started again, after a kill -9 as well, takes the leases
// of its clients anew, for their containers go on.
type volumeServer struct {
	engine *Engine
	log    *slog.Logger

	mu    sync.Mutex // guards what follows, and the file
	held  map[holding]*held
	turns map[string]*sync.Mutex // of each volume: a driver that hangs keeps up its own volumes' clients only
}

// ServeVolumes answers Docker's volume plugin protocol on a socket (default:
// unionmount.sock in Docker's folder) until a signal ends it. ready is told the socket.
func (e *Engine) ServeVolumes(socket string, ready func(socket string)) error {
	if socket == "" {
		socket = filepath.Join(plugin.DockerFolders().Sockets[0], "unionmount.sock")
	}
	socket, err := filepath.Abs(socket)
	if err != nil {
		return err
	}
	what := "serve " + socket
	unlock, err := e.lockServing()
	if err != nil {
		return blame(what, err)
	}
	s := &volumeServer{engine: e, log: logger("info"), held: make(map[holding]*held), turns: make(map[string]*sync.Mutex)}
	if err := s.takeAgain(); err != nil {
		return errors.Join(blame(what, err), unlock())
	}
	l, err := listenAt(socket)
	if err != nil {
		return errors.Join(blame(what, err), unlock())
	}
	h := &http.Server{Handler: plugin.Handler(s.methods()), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
	done := make(chan error, 1)
	var once sync.Once
	stop := onSignal(catchSignals(), func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patienceStart)
			defer cancel()
			done <- errors.Join(os.Remove(socket), h.Shutdown(ctx))
		})
	})
	defer stop()
	ready(socket)
	if err = h.Serve(l); errors.Is(err, http.ErrServerClosed) {
		err = <-done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) > 0 {
		s.log.Warn("volumes are in use still: start it again before their clients give them back", "holders", len(s.held))
	}
	return errors.Join(blame(what, err), unlock())
}

// lockServing makes sure that one process serves a root.
func (e *Engine) lockServing() (unlock func() error, err error) {
	if err := os.MkdirAll(e.Root, 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(e.Root, servedLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := sys.Flock(int(f.Fd()), true); err != nil {
		return nil, errors.Join(fail(ErrConflict, "serve "+e.Root, "another process serves its volumes: end it first"), f.Close())
	}
	return f.Close, nil
}

// listenAt makes a socket that only its owner may use and puts it in place, whole.
func listenAt(socket string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		return nil, errors.Join(fail(ErrConflict, "serve "+socket, "another plugin listens there: give --socket PATH"), c.Close())
	}
	if st, err := os.Lstat(socket); err == nil && st.Mode()&fs.ModeSocket == 0 {
		return nil, fail(ErrConflict, "serve "+socket, "it is there, and no socket: remove it, or give --socket PATH")
	}
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	staged, err := os.MkdirTemp(dir, ".unionmount-") // 0700: nobody gets at it before its mode is right
	if err != nil {
		return nil, err
	}
	defer os.Remove(staged)
	path := filepath.Join(staged, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(path, 0o600), os.Rename(path, socket)); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	return l, nil
}
