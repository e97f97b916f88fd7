package transport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// probe is plain with handlers that a test holds up or lets fail.
type probe struct {
	plain
	panics atomic.Bool
	held   chan struct{} // what GETXATTR, FSYNC and SETLKW of others wait for
	locked atomic.Bool
	waits  atomic.Int32 // SETLKW that wait
}

func (p *probe) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if p.panics.Swap(false) {
		panic("a fault of the file system")
	}
	return p.plain.GetAttr(c, in, out)
}

func (p *probe) GetXAttr(<-chan struct{}, *fuse.InHeader, string, []byte) (uint32, fuse.Status) {
	<-p.held
	return 0, fuse.ENODATA
}

func (p *probe) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	<-p.held
	return fuse.OK
}

func (p *probe) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status {
	if in.Lk.Typ == unix.F_UNLCK {
		p.locked.Store(false)
		return fuse.OK
	}
	if !p.locked.CompareAndSwap(false, true) {
		return fuse.EAGAIN
	}
	return fuse.OK
}

func (p *probe) SetLkw(cancel <-chan struct{}, _ *fuse.LkIn) fuse.Status {
	p.waits.Add(1)
	defer p.waits.Add(-1) // a signal may interrupt it: then the kernel asks once more
	for !p.locked.CompareAndSwap(false, true) {
		select {
		case <-cancel:
			return fuse.EINTR
		case <-time.After(time.Millisecond):
		}
	}
	return fuse.OK
}

// served is a probe mounted in this process.
type served struct {
	*probe
	server *Server
	mnt    string
}

func serve(t *testing.T, kind Kind, change ...func(*Config)) *served {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to mount by mount(2)")
	}
	if kind == Ring {
		switchRing(t)
	}
	p := &probe{plain: plain{fuse.NewDefaultRawFileSystem()}, held: make(chan struct{})}
	s := &served{probe: p, mnt: t.TempDir()}
	fd, err := sys.MountFUSE(s.mnt, "probe", "transport-test", nil, plainSize)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{FS: p, Options: options(), Ring: kind == Ring, Fault: func(what string, err error) { t.Log(what, err) }}
	for _, c := range change {
		c(&cfg)
	}
	s.server, err = Open(fd, cfg)
	if err == nil {
		err = s.server.Serve()
	}
	if err != nil {
		t.Fatal(errors.Join(err, sys.DetachMount(s.mnt)))
	}
	if s.server.Kind() != kind {
		t.Errorf("served by %s, want %s", s.server.Kind(), kind)
	}
	t.Cleanup(func() {
		if err := sys.DetachMount(s.mnt); err != nil && err != unix.EINVAL {
			t.Error(err)
		}
		s.end(t)
	})
	return s
}

// end wants the server to end by itself, soon.
func (s *served) end(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() { s.server.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the mount is gone and the server goes on")
	}
}

func (s *served) open(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(s.mnt+"/file", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func bothKinds(t *testing.T, f func(*testing.T, Kind)) {
	for _, k := range []Kind{Device, Ring} {
		t.Run(string(k), func(t *testing.T) { f(t, k) })
	}
}

// TestEnds: however the mount goes, the server ends.
func TestEnds(t *testing.T) {
	bothKinds(t, func(t *testing.T, k Kind) {
		t.Run("umount", func(t *testing.T) {
			s := serve(t, k)
			if err := suite.Unmount(s.mnt); err != nil {
				t.Fatal(err)
			}
			s.end(t)
		})
		t.Run("lazily, with a file open", func(t *testing.T) {
			s := serve(t, k)
			fd := s.open(t)
			if err := sys.DetachMount(s.mnt); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Pread(fd, make([]byte, 10), 0); err != nil {
				t.Error("a file open after a lazy unmount:", err)
			}
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
			s.end(t)
		})
		t.Run("aborted, with requests under way", func(t *testing.T) {
			s := serve(t, k)
			fd := s.open(t)
			synced := make(chan error)
			go func() { synced <- unix.Fsync(fd) }()
			if k == Device {
				s.locked.Store(true)
				go func() {
					l := unix.Flock_t{Type: unix.F_WRLCK}
					_ = unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &l)
				}()
				await(t, "SETLKW", func() bool { return s.waits.Load() > 0 })
			}
			time.Sleep(20 * time.Millisecond)
			abort(t, s.mnt)
			if err := <-synced; err == nil {
				t.Error("fsync of an aborted mount succeeded")
			}
			close(s.held)
			s.end(t)
			_ = unix.Close(fd)
		})
	})
}

// abort ends a connection as an administrator does (Documentation/filesystems/fuse.rst).
func abort(t *testing.T, mnt string) {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mounts, err := sys.ParseMounts(f)
	if err != nil {
		t.Fatal(err)
	}
	const connections = "/sys/fs/fuse/connections"
	if _, err := os.Stat(connections + "/"); err != nil {
		suite.Absent(t, err.Error())
	}
	if err := unix.Mount("none", connections, "fusectl", 0, ""); err != nil && err != unix.EBUSY {
		t.Fatal(err)
	} else if err == nil {
		defer unix.Unmount(connections, 0)
	}
	for _, m := range mounts {
		if m.Target == mnt {
			_, minor, _ := strings.Cut(m.Dev, ":")
			if err := os.WriteFile(filepath.Join(connections, minor, "abort"), []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("not mounted")
}

// TestPanic: a fault of a handler costs its caller EIO and nobody anything else.
func TestPanic(t *testing.T) {
	bothKinds(t, func(t *testing.T, k Kind) {
		s := serve(t, k)
		fd := s.open(t)
		defer unix.Close(fd)
		var st unix.Stat_t
		s.panics.Store(true)
		if err := unix.Fstat(fd, &st); err != unix.EIO {
			t.Errorf("the faulty request: %v, want EIO", err)
		}
		if err := unix.Fstat(fd, &st); err != nil {
			t.Errorf("the next: %v", err)
		}
	})
}

// TestHeldUp: requests that take long keep no other from its answer, also more
// of them than readers are kept.
func TestHeldUp(t *testing.T) {
	bothKinds(t, func(t *testing.T, k Kind) {
		s := serve(t, k)
		fd := s.open(t)
		defer unix.Close(fd)
		const many = 10
		done := make(chan error, many)
		for range many {
			go func() {
				if k == Device { // not known to be slow
					_, err := unix.Fgetxattr(fd, "user.x", nil)
					done <- err
				} else {
					done <- unix.Fsync(fd)
				}
			}()
		}
		time.Sleep(50 * time.Millisecond)
		var st unix.Stat_t
		for range 100 {
			start := time.Now()
			if err := unix.Fstat(fd, &st); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > time.Second {
				t.Fatalf("a request waited for %s behind slow ones", took)
			}
		}
		close(s.held)
		for range many {
			if err := <-done; err != nil && err != unix.ENODATA {
				t.Error(err)
			}
		}
	})
}

// TestLockWaiters: more waiters for a lock than there are readers leave room for
// the unlock; a signal ends a wait, EINTR.
func TestLockWaiters(t *testing.T) {
	s := serve(t, Device)
	fds := make([]int, 2*maxReaders)
	for i := range fds {
		fds[i] = s.open(t)
		defer unix.Close(fds[i])
	}
	s.locked.Store(true)
	defer s.locked.Store(false) // also after a failure: who waits keeps the process from ending
	done := make(chan error, len(fds))
	for _, fd := range fds {
		go func() {
			l := unix.Flock_t{Type: unix.F_WRLCK}
			err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLKW, &l)
			s.locked.Store(false)
			done <- err
		}()
	}
	await(t, "all to wait", func() bool { return s.waits.Load() == int32(len(fds)) })
	l := unix.Flock_t{Type: unix.F_UNLCK}
	if err := unix.FcntlFlock(uintptr(fds[0]), unix.F_OFD_SETLK, &l); err != nil {
		t.Fatal(err)
	}
	for range fds {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a waiter never got the lock")
		}
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for", what)
		}
	}
}

// TestIdle: a mount that nobody uses takes no processor time, not even for the end of a burst.
func TestIdle(t *testing.T) {
	length := 3 * time.Second
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		length = time.Minute
	}
	for _, way := range []Kind{Device, Ring} {
		t.Run(string(way), func(t *testing.T) {
			if way == Ring {
				switchRing(t)
			}
			m, pid := peer(t, string(way))
			var st unix.Stat_t
			for range 5000 {
				_ = unix.Stat(m+"/none", &st)
			}
			time.Sleep(200 * time.Millisecond)
			before := cpuTime(t, pid)
			time.Sleep(length)
			if used := cpuTime(t, pid) - before; used > length/1000 {
				t.Errorf("%s of processor time in %s", used, length)
			}
		})
	}
}

// cpuTime adds up what every thread of a process has run (proc(5), schedstat).
func cpuTime(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	for _, text := range ofThreads(t, pid, "schedstat") {
		var ns int64
		if _, err := fmt.Sscan(text, &ns); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// ofThreads reads a file of proc(5) for each thread of a process.
func ofThreads(t testing.TB, pid int, file string) (texts []string) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file))
	if err != nil || len(tasks) == 0 {
		t.Fatal("no threads", err)
	}
	for _, p := range tasks {
		if text, err := os.ReadFile(p); err == nil { // else it has ended
			texts = append(texts, string(text))
		}
	}
	return texts
}
