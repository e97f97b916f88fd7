package unionfs_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// posixRoot tells TestPosixAsUser that it is the plain user already, and what to test.
const posixRoot = "UNIONFS_TEST_POSIX"

// TestPosixAsUser is TestPosix for a plain user's mount, in the union and in a routed volume. The test binary
// runs again as that user, for the functions act as whoever runs them.
func TestPosixAsUser(t *testing.T) {
	if root := os.Getenv(posixRoot); root != "" {
		posixBelow(t, root)
		return
	}
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to become a plain user")
	}
	fuseForAll(t)
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	err := errors.Join(os.Chmod(filepath.Dir(base), 0o755), os.Chmod(base, 0o755))
	for _, dir := range []string{"upper", "work", "volume", "mnt", "tmp"} {
		err = errors.Join(err, os.Mkdir(at(dir), 0o755), os.Chown(at(dir), plainUser, plainUser))
	}
	if err != nil {
		t.Fatal(err)
	}
	lower := posixLayer(t, plainUser, slices.Collect(maps.Keys(posixtest.All))...)
	guardLowers(t, false, lower)
	d := &daemon{
		Config: unionfs.Config{
			Lowers: []string{lower}, Upper: at("upper"), Work: at("work"), UserXattr: true, IO: unionfs.IOOpen, NoRing: true,
			Volumes: []unionfs.Volume{{Source: at("volume"), Target: "/vol"}},
		},
		Mountpoint: at("mnt"), User: true,
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	for _, where := range []string{"", "vol"} {
		c := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^TestPosixAsUser$")
		c.Dir = "/"
		c.Env = append(os.Environ(), posixRoot+"="+filepath.Join(at("mnt"), where), "TMPDIR="+at("tmp"), "HOME="+at("tmp"))
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainUser}}
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("in %q: %v\n%s", "/"+where, err, out)
		}
	}
}

// posixBelow gives each function a directory of its own below root: in the union a layer has it.
func posixBelow(t *testing.T, root string) {
	for name, fn := range posixtest.All {
		if name == "FcntlFlockLocksFile" { // see TestPosix
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(root, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			refusePoll(t, dir)
			fn(t, dir)
		})
	}
}
