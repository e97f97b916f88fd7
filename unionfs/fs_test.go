package unionfs_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// mountUnion mounts cfg at a new directory of the test's and unmounts it at its end, when the lower layers must be what
// they were.
func mountUnion(t *testing.T, cfg unionfs.Config) string {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to mount by mount(2)")
	}
	guardLowers(t, true, cfg.Lowers...)
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	fs, err := unionfs.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := t.TempDir()
	if err := fs.Mount(m); err != nil {
		t.Fatal(err)
	}
	t.Log("requests arrive by", fs.Transport())
	t.Cleanup(func() {
		if err := sys.DetachMount(m); err != nil {
			t.Error(err)
		}
		fs.Wait()
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	refusePoll(t, m)
	return m
}

// refusePoll lets the kernel learn that there is no POLL: package os registers
// every file with the runtime's poller, which would wait, thread and all, for an
// answer of this very process (go-fuse's pollHack does the same).
func refusePoll(t *testing.T, m string) {
	t.Helper()
	fd, err := unix.Open(m, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}

func dirs(t *testing.T) (lower, upper, work string) {
	t.Helper()
	base := t.TempDir()
	for _, p := range []*string{&lower, &upper, &work} {
		d, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		*p = d
	}
	return lower, upper, work
}

// TestPosix runs go-fuse's conformance functions in the union and in a routed
// volume, on every connection, each in a directory that a layer has.
func TestPosix(t *testing.T) {
	for _, c := range connections() {
		for _, volume := range []bool{false, true} {
			for name, fn := range posixtest.All {
				// It asks a process's second descriptor to conflict with its first,
				// which fcntl(2) says it doesn't: it fails on ext4 too.
				if name == "FcntlFlockLocksFile" {
					continue
				}
				where := map[bool]string{false: "union", true: "volume"}[volume]
				t.Run(c.String()+"/"+where+"/"+name, func(t *testing.T) {
					c.need(t)
					_, upper, work := dirs(t)
					cfg := c.config(unionfs.Config{Lowers: []string{posixLayer(t, 0, name)}, Upper: upper, Work: work})
					sub := name
					if volume {
						sub = "vol/" + name
						cfg.Volumes = []unionfs.Volume{{Source: posixLayer(t, 0, name), Target: "/vol"}}
					}
					fn(t, filepath.Join(mountUnion(t, cfg), sub))
				})
			}
		}
	}
}

// TestListingGoesOn reads a directory to its end after names were copied up and
// more other directories were read than listings are kept: every name once.
func TestListingGoesOn(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			lower, upper, work := dirs(t)
			const names = 3000
			for i := range names {
				if err := os.WriteFile(fmt.Sprintf("%s/file-with-a-longer-name-%d", lower, i), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 100 {
				if err := os.Mkdir(fmt.Sprintf("%s/dir-%d", lower, i), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			m := mountUnion(t, c.config(unionfs.Config{Lowers: []string{lower}, Upper: upper, Work: work}))
			fd, err := unix.Open(m, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			seen := make(map[string]int)
			read := func() int {
				buf := make([]byte, 4096)
				n, err := unix.Getdents(fd, buf)
				if err != nil {
					t.Fatal(err)
				}
				_, _, found := unix.ParseDirent(buf[:n], -1, nil)
				for _, f := range found {
					seen[f]++
				}
				return n
			}
			read()
			for i := 0; i < names; i += 7 {
				if err := unix.Chmod(fmt.Sprintf("%s/file-with-a-longer-name-%d", m, i), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 100 {
				if _, err := os.ReadDir(fmt.Sprintf("%s/dir-%d", m, i)); err != nil {
					t.Fatal(err)
				}
			}
			for read() > 0 {
			}
			if len(seen) != names+100 {
				t.Errorf("%d names, want %d", len(seen), names+100)
			}
			for name, n := range seen {
				if n != 1 {
					t.Errorf("%s: %d times", name, n)
				}
			}
		})
	}
}

// TestSetuidOpenedTwice: a setuid file of a routed volume that one had open for reading could not be opened for
// writing (EIO): the kernel doesn't let opens with and without its passthrough be mixed.
func TestSetuidOpenedTwice(t *testing.T) {
	lower, upper, work := dirs(t)
	source := t.TempDir()
	if err := os.WriteFile(source+"/f", []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(source+"/f", 0o6755); err != nil {
		t.Fatal(err)
	}
	m := mountUnion(t, unionfs.Config{
		Lowers: []string{lower}, Upper: upper, Work: work, IO: unionfs.IOOpen,
		Volumes: []unionfs.Volume{{Source: source, Target: "/vol"}},
	})
	r, err := unix.Open(m+"/vol/f", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r)
	w, err := unix.Open(m+"/vol/f", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open for writing while it is open for reading: %v", err)
	}
	defer unix.Close(w)
	if _, err := unix.Pwrite(w, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := unix.Pread(r, buf, 0); err != nil || string(buf[:n]) != "new" {
		t.Errorf("the reader sees %q, %v", buf[:n], err)
	}
}
