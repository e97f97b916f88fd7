package unionfs_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
)

// mountUnion mounts cfg at a new directory of the test's and unmounts it at its end.
func mountUnion(t *testing.T, cfg unionfs.Config) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount by mount(2)")
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	fs, err := unionfs.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := t.TempDir()
	if err := fs.Mount(m); err != nil {
		t.Fatal(err)
	}
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
// volume, on both connections.
func TestPosix(t *testing.T) {
	for _, io := range []unionfs.IO{unionfs.IOCached, unionfs.IOOpen} {
		for _, volume := range []bool{false, true} {
			for name, fn := range posixtest.All {
				// It asks a process's second descriptor to conflict with its first,
				// which fcntl(2) says it doesn't: it fails on ext4 too.
				if name == "FcntlFlockLocksFile" {
					continue
				}
				where := map[bool]string{false: "union", true: "volume"}[volume]
				t.Run(string(io)+"/"+where+"/"+name, func(t *testing.T) {
					lower, upper, work := dirs(t)
					cfg := unionfs.Config{Lowers: []string{lower}, Upper: upper, Work: work, IO: io}
					sub := ""
					if volume {
						sub = "vol"
						cfg.Volumes = []unionfs.Volume{{Source: t.TempDir(), Target: "/vol"}}
					}
					fn(t, filepath.Join(mountUnion(t, cfg), sub))
				})
			}
		}
	}
}
