package transport

import (
	"bytes"
	"os"
	"path/filepath"
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
	t.Cleanup(func() { d.from.Close(); d.to.Close() })
	if file != nil {
		d.from = file
	}
	return d, serve(t, Ring, func(c *Config) {
		c.Read = d.read
		c.Source = func(*fuse.ReadIn) Source { d.asked.Add(1); return d }
	})
}

// TestRingReads: while the ring waits for the disk, others are answered; what it reads is the answer, and where that
// isn't all, Read is asked once more where it may wait.
func TestRingReads(t *testing.T) {
	const size = 4096
	whole := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, c := range []struct {
		name, arrives, want string
		bad, file           bool
	}{
		{name: "all", arrives: string(whole), want: string(whole)},
		{name: "less", arrives: "0123", want: "elsewhere"},
		{name: "the end", arrives: "0123", want: "0123", file: true},
		{name: "error", want: "elsewhere", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var file *os.File
			if c.file { // a pipe doesn't tell that it ended
				file = temporary(t, c.arrives)
			}
			d, s := onSlowDisk(t, c.bad, file)
			fd := s.open(t)
			defer unix.Close(fd)
			got := make(chan string)
			go func() {
				buf := make([]byte, size)
				n, err := unix.Pread(fd, buf, 0)
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
		})
	}
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
	d, s := onSlowDisk(t, false, nil)
	fd := s.open(t)
	defer unix.Close(fd)
	failed := make(chan error)
	go func() {
		_, err := unix.Pread(fd, make([]byte, 4096), 0)
		failed <- err
	}()
	await(t, "the ring is asked to read", func() bool { return d.asked.Load() > 0 })
	abort(t, s.mnt)
	if err := <-failed; err == nil {
		t.Error("a read through an aborted mount succeeded")
	}
	if _, err := d.to.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	if d.done.Load() != 1 {
		t.Errorf("%d files were given back", d.done.Load())
	}
}
