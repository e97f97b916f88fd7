package transport

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// slowDisk is a file whose data aren't in memory: the ring waits for what comes through a pipe.
type slowDisk struct {
	from, to *os.File
	bad      bool         // the ring can't read it
	ready    atomic.Bool  // the ring may
	tried    atomic.Int32 // reads that may not wait
	asked    atomic.Int32 // as a Source
	done     atomic.Int32
	waited   atomic.Int32 // reads elsewhere
}

func (d *slowDisk) Fd() int {
	if d.bad {
		return -1
	}
	return int(d.from.Fd())
}

func (d *slowDisk) How() int { return 0 }

func (d *slowDisk) Done() { d.done.Add(1) }

func (d *slowDisk) read(_ *fuse.ReadIn, buf []byte, now bool) (int, fuse.Status) {
	if now {
		d.tried.Add(1)
		return 0, fuse.EAGAIN
	}
	d.waited.Add(1)
	return copy(buf, "elsewhere"), fuse.OK
}

// onSlowDisk serves by the ring what a slowDisk has; file stands in for the pipe (nil: none does).
func onSlowDisk(t *testing.T, bad bool, file *os.File) (*slowDisk, *served) {
	t.Helper()
	d := &slowDisk{bad: bad}
	var err error
	if d.from, d.to, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(d.to.Fd(), unix.F_SETPIPE_SZ, plainSize); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.from.Close(); d.to.Close() })
	if file != nil {
		d.from = file
	}
	return d, serve(t, Ring, func(c *Config) {
		c.Read = d.read
		c.Source = func(*fuse.ReadIn) Source {
			if !d.ready.Load() {
				return nil
			}
			d.asked.Add(1)
			return d
		}
	})
}

// TestRingReads: while the ring waits for the disk, others are answered; what it reads is the answer, and where that
// isn't all, Read is asked once more where it may wait. A stream of large ones has a worker of its own.
func TestRingReads(t *testing.T) {
	for _, c := range []struct {
		name, arrives, want string
		whole, bad, file    bool
	}{
		{name: "all", whole: true},
		{name: "less", arrives: "0123", want: "elsewhere"},
		{name: "the end", arrives: "0123", want: "0123", file: true},
		{name: "error", want: "elsewhere", bad: true},
	} {
		for _, kind := range []struct {
			name         string
			size, offset int
		}{{"small", 4096, 0}, {"large", 2 * bigData, 0}, {"stream", 2 * bigData, 2 * bigData}} {
			size := kind.size
			if c.whole {
				c.arrives = strings.Repeat("0123456789abcdef", size/16)
				c.want = c.arrives
			}
			t.Run(c.name+", "+kind.name, func(t *testing.T) {
				var file *os.File
				if c.file { // a pipe doesn't tell that it ended
					file = temporary(t, strings.Repeat("x", kind.offset)+c.arrives)
				}
				d, s := onSlowDisk(t, c.bad, file)
				fd := s.open(t)
				defer unix.Close(fd)
				if kind.offset > 0 {
					s.stream(t, fd, size)
				}
				d.waited.Store(0)
				d.ready.Store(true)
				got := make(chan string)
				go func() {
					buf := make([]byte, size)
					n, err := unix.Pread(fd, buf, int64(kind.offset))
					if err != nil {
						t.Error(err)
					}
					got <- string(buf[:max(n, 0)])
				}()
				await(t, "the ring is asked to read", func() bool { return d.asked.Load() > 0 })
				var st unix.Stat_t
				for range 100 { // on either processor
					if err := unix.Fstat(fd, &st); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := d.to.WriteString(c.arrives); err != nil && file == nil {
					t.Fatal(err)
				}
				select {
				case text := <-got:
					if text != c.want {
						t.Errorf("read %.20q (%d bytes), want %.20q (%d)", text, len(text), c.want, len(c.want))
					}
				case <-time.After(10 * time.Second):
					t.Fatal("no answer")
				}
				if elsewhere := c.want == "elsewhere"; elsewhere != (d.waited.Load() > 0) {
					t.Errorf("%d reads elsewhere", d.waited.Load())
				}
				if d.asked.Load() != d.done.Load() {
					t.Errorf("%d files were taken, %d given back", d.asked.Load(), d.done.Load())
				}
				if large := size > bigData; large != (d.tried.Load() == 0) {
					t.Errorf("tried %d times whether it is in memory", d.tried.Load())
				}
			})
		}
	}
}

// stream has a worker for streams started for every processor, and the first size bytes read last.
func (s *served) stream(t *testing.T, fd, size int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its pinning
		read := func(off int) {
			if _, err := unix.Pread(fd, make([]byte, size), int64(off)); err != nil {
				t.Error(err)
			}
		}
		for _, q := range s.server.queues {
			var set unix.CPUSet
			set.Set(q.id)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				continue // offline
			}
			await(t, "a worker for streams", func() bool {
				read(0)
				if q.bulk.Load() == nil {
					read(size)
				}
				return q.bulk.Load() != nil
			})
			read(0)
		}
	}()
	<-done
}

func temporary(t *testing.T, text string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestAbortedWhileTheRingReads: a mount that is aborted then ends once the disk has answered.
func TestAbortedWhileTheRingReads(t *testing.T) {
	for _, offset := range []int{0, 2 * bigData} {
		t.Run(fmt.Sprint("at ", offset), func(t *testing.T) {
			d, s := onSlowDisk(t, false, nil)
			fd := s.open(t)
			defer unix.Close(fd)
			size := 4096
			if offset > 0 {
				size = offset
				s.stream(t, fd, size)
			}
			d.ready.Store(true)
			failed := make(chan error)
			go func() {
				_, err := unix.Pread(fd, make([]byte, size), int64(offset))
				failed <- err
			}()
			await(t, "the ring is asked to read", func() bool { return d.asked.Load() > 0 })
			abort(t, s.mnt)
			if err := <-failed; err == nil {
				t.Error("a read through an aborted mount succeeded")
			}
			if _, err := d.to.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			s.end(t)
			if d.done.Load() != 1 {
				t.Errorf("%d files were given back", d.done.Load())
			}
		})
	}
}

// TestStreamsAndOthersInTurn: an entry goes from one worker to the other and back, whoever asks meanwhile.
func TestStreamsAndOthersInTurn(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), plainSize/16)
	file := temporary(t, string(text))
	s := serve(t, Ring, func(c *Config) {
		c.Read = func(in *fuse.ReadIn, buf []byte, _ bool) (int, fuse.Status) {
			n, err := file.ReadAt(buf, int64(in.Offset))
			if err != nil {
				return 0, fuse.EIO
			}
			return n, fuse.OK
		}
		c.Source = func(*fuse.ReadIn) Source { return inMemory{file} }
	})
	fd := s.open(t)
	defer unix.Close(fd)
	s.stream(t, fd, 2*bigData)
	var clients sync.WaitGroup
	for i := range 3 * len(s.server.queues) {
		clients.Go(func() {
			buf := make([]byte, plainSize)
			var st unix.Stat_t
			for j := range 200 {
				const large = 2 * bigData
				off, size := i<<4, 4096
				if j%4 > 0 {
					off, size = (j%4-1)*large+i<<4, large // two of three go on where one has ended
				}
				if n, err := unix.Pread(fd, buf[:size], int64(off)); err != nil || n != size || !bytes.Equal(buf[:n], text[off:off+n]) {
					t.Errorf("%d bytes at %d: %d and %v, or others than they are", size, off, n, err)
					return
				}
				if err := unix.Fstat(fd, &st); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// inMemory is a file that is read without waiting.
type inMemory struct{ *os.File }

func (m inMemory) Fd() int { return int(m.File.Fd()) }
func (inMemory) How() int  { return 0 }
func (inMemory) Done()     {}
