package transport

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Kind names the way of a connection.
type Kind string

const (
	Device Kind = "device"   // reads of /dev/fuse
	Ring   Kind = "io_uring" // FUSE over io_uring (Linux 6.14, Documentation/filesystems/fuse/fuse-io-uring.rst)
)

// Config is what a Server serves. It is immutable once handed to Start.
type Config struct {
	FS fuse.RawFileSystem
	// Options are what INIT agrees on with the kernel; PanicHandler must be set.
	Options fuse.MountOptions
	// Read reads straight into the reply. now: it answers EAGAIN rather than wait for the
	// disk, and is asked again where waiting holds nobody up. nil: FS.Read does.
	Read func(in *fuse.ReadIn, buf []byte, now bool) (int, fuse.Status)
	// Source is the file that Read reads, if one is at hand: asked after an EAGAIN of Read, so that a ring can wait for
	// the disk. nil, or an answer of nil: Read is asked again, elsewhere.
	Source func(in *fuse.ReadIn) Source
	// Rename is FS.Rename. now: it answers EAGAIN rather than copy anything or wait, and is asked again as above. nil: FS.Rename does.
	Rename func(in *fuse.RenameIn, oldName, newName string, now bool) fuse.Status
	// Lengthy tells that answering a change may take long, as a copy-up does, so
	// that others shall be served meanwhile. It may be called at any time and must be quick. nil: nothing is lengthy but what is by its kind.
	Lengthy func(h *fuse.InHeader) bool
	// LongList tells it of listing a directory. nil: it always may take long.
	LongList func(dir uint64) bool
	// Ring asks for io_uring where the kernel offers it.
	Ring bool
	// Fault is told of what isn't as it should be and isn't the end of the mount.
	Fault func(what string, err error)
}

// Source is an open file, to be read with the RWF_* flags that How gives; Done gives it back.
type Source interface {
	Fd() int
	How() int
	Done()
}

// Server answers the requests of one connection. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	protocol *fuse.ProtocolServer // for what dispatch.go doesn't decode
	debug    bool                 // every request through protocol, which logs it
	fd       int                  // the connection
	maxWrite int
	kind     Kind
	waits    waits

	ending  atomic.Bool
	serving sync.WaitGroup // readers and queues
	ended   chan struct{}

	dev    *device
	queues []*queue // of the ring; nil without
}

// Open takes over fd, a connection whose INIT is to be answered, and answers it.
// Serve must follow. If it fails, fd is closed.
func Open(fd int, cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, fd: fd, debug: cfg.Options.Debug, kind: Device, ended: make(chan struct{})}
	if err := s.init(); err != nil {
		closeQueues(s.queues)
		return nil, errors.Join(err, unix.Close(fd))
	}
	s.dev = newDevice(s)
	return s, nil
}

// Serve answers requests, in goroutines of its own, until the mount is gone. Whoever
// gave FS knows the Server by then: its methods may be asked for it at once. If it fails, the connection is closed.
func (s *Server) Serve() error {
	if s.queues != nil {
		if err := s.startQueues(); err != nil {
			return errors.Join(err, unix.Close(s.fd))
		}
		s.dev.spin = s.dev.spin && s.kind == Device
	}
	s.dev.start()
	go s.end()
	return nil
}

// Kind tells how requests arrive.
func (s *Server) Kind() Kind { return s.kind }

// Wait blocks until the mount is gone and every request has been answered.
func (s *Server) Wait() { <-s.ended }

func (s *Server) end() {
	s.serving.Wait()
	if n := len(s.queues); n > 0 {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - threadsOfQueue*n)
	}
	s.dev.close()
	_ = unix.Close(s.fd) // the connection is gone
	s.cfg.FS.OnUnmount()
	close(s.ended)
}

// gone is called by whoever learns first that the mount is.
func (s *Server) gone() {
	if s.ending.Swap(true) {
		return
	}
	s.waits.cancelAll()
	s.dev.stop()
	for _, q := range s.queues {
		q.wake()
	}
}

// init answers INIT, and makes queues if the kernel shall use the ring.
func (s *Server) init() error {
	in := make([]byte, bufferSize(s.cfg.Options.MaxWrite))
	n, err := readInit(s.fd, in)
	if err != nil {
		return fmt.Errorf("read INIT: %w", err)
	}
	if n < int(inHeaderSize) || header(in).Opcode != opInit {
		return errors.New("the connection's first request isn't INIT")
	}
	asked := (*fuse.InitIn)(ptr(in))
	if s.cfg.Ring && asked.Flags64()&fuse.CAP_OVER_IO_URING != 0 {
		if s.queues, err = newQueues(s.cfg.Options.MaxWrite); err != nil {
			s.cfg.Fault("io_uring can't be had, serving by "+string(Device), err)
		} else {
			s.cfg.Options.ExtraCapabilities |= fuse.CAP_OVER_IO_URING
		}
	}
	s.protocol = fuse.NewProtocolServer(s.cfg.FS, &s.cfg.Options)
	out := make([]byte, 4096)
	m, status := s.protocol.HandleRequest([][]byte{in[:n]}, [][]byte{out})
	if status.Ok() {
		status = fuse.Status(-outHeader(out).Status)
	}
	if !status.Ok() {
		return fmt.Errorf("answer INIT: %w", unix.Errno(status))
	}
	s.maxWrite = int((*fuse.InitOut)(ptr(out[outHeaderSize:])).MaxWrite)
	if _, err := unix.Write(s.fd, out[:m]); err != nil {
		return fmt.Errorf("answer INIT: %w", err)
	}
	return nil
}

// readInit waits for the first request.
func readInit(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR && err != unix.ENOENT {
			return n, err
		}
	}
}
