package cow

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestOrderNeedsAJournal: an ext4 without a journal keeps no order between data and
// names: its copy-ups are fsynced. It was taken for one that has a journal.
func TestOrderNeedsAJournal(t *testing.T) {
	if os.Getuid() != 0 {
		suite.Absent(t, "root")
	}
	for _, c := range []struct {
		name    string
		mkfs    []string
		ordered bool
	}{
		{"ext4", []string{"mkfs.ext4", "-q"}, true},
		{"ext4 without a journal", []string{"mkfs.ext4", "-q", "-O", "^has_journal"}, false},
		{"xfs", []string{"mkfs.xfs", "-q"}, true},
		{"btrfs", []string{"mkfs.btrfs", "-q"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			upper := freshDisk(t, c.mkfs)
			for _, dir := range []string{upper + "/upper", upper + "/work"} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			l, err := layers.OpenUpper(upper+"/upper", 8)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			w, err := OpenWriter(l, upper+"/work", Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if w.ordered != c.ordered {
				t.Errorf("keeps the order: %v, want %v", w.ordered, c.ordered)
			}
		})
	}
}

// freshDisk mounts a new file system of 320 MiB by a loop device.
func freshDisk(t *testing.T, mkfs []string) string {
	t.Helper()
	image, at := t.TempDir()+"/disk.img", t.TempDir()
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		suite.Absent(t, mkfs[0])
	}
	run := func(args ...string) string {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("truncate", "-s", "320M", image)
	run(append(mkfs, image)...)
	device := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { run("losetup", "-d", device) })
	run("mount", device, at)
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}
