package startree

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
	"golang.org/x/sys/unix"
)

// TestFlattenEqualsKernelOverlay proves the merger against the kernel's.
func TestFlattenEqualsKernelOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "mounting overlayfs takes root")
	}
	for seed := int64(1); seed <= 12; seed++ {
		dir := t.TempDir()
		opt := Options{Root: true, ACL: true, NoStrays: true}
		if seed%3 == 0 {
			opt.Tops = []string{"one", "two"}
		}
		layers, err := Layers(dir, 1+int(seed)%5, seed, opt)
		if err != nil {
			t.Fatal(err)
		}
		before := hash(t, dir, treehash.Options{Atime: true})
		plain := filepath.Join(t.TempDir(), "plain")
		if err := Flatten(layers, plain); err != nil {
			t.Fatal(err)
		}
		if d := treehash.Diff(before, hash(t, dir, treehash.Options{Atime: true})); d != nil {
			t.Errorf("seed %d: layers changed: %s", seed, strings.Join(d, "\n"))
		}
		all := treehash.Options{Atime: true, Nlink: true}
		union := overlay(t, layers)
		if d := treehash.Diff(hash(t, union, all), hash(t, plain, all)); d != nil {
			t.Errorf("seed %d: overlay and plain copy: %s", seed, strings.Join(d, "\n"))
		}
	}
}

func hash(t *testing.T, root string, opt treehash.Options) treehash.Tree {
	t.Helper()
	tree, err := treehash.Hash(root, opt)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// overlay mounts layers read-only; the kernel wants two.
func overlay(t *testing.T, layers []string) string {
	t.Helper()
	target, empty := t.TempDir(), t.TempDir()
	opts := "lowerdir=" + strings.Join(append(layers, empty), ":")
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NOATIME, opts); err != nil {
		suite.Absent(t, "kernel overlayfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := suite.Unmount(target); err != nil {
			t.Error(err)
		}
	})
	return target
}

// TestLayersHoldEverything watches that the generator does not lose a kind of object.
func TestLayersHoldEverything(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Root: os.Geteuid() == 0, Marks: UserXattr | OCI}
	if _, err := Layers(dir, 8, 1, opt); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for p, e := range hash(t, dir, treehash.Options{Nlink: true}) {
		switch {
		case e.Mode&unix.S_IFMT == unix.S_IFCHR && e.Rdev == 0:
			count["whiteout"]++
		case strings.Contains(p, "/"+ociPrefix):
			count["oci"]++
		case e.Mode&unix.S_IFMT == unix.S_IFREG && e.Nlink > 1:
			count["hard link"]++
		case strings.Contains(e.Xattrs, "overlay.opaque"):
			count["opaque"]++
		}
		count[kindName(e.Mode)]++
	}
	for _, want := range []string{"whiteout", "oci", "hard link", "opaque", "file", "directory", "symlink", "node"} {
		if count[want] < 3 {
			t.Errorf("%d of %s in %v", count[want], want, count)
		}
	}
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	}
	return "node"
}

// TestOCIMarksMean checks the file forms of the marks, which the kernel does not read.
func TestOCIMarksMean(t *testing.T) {
	dir := t.TempDir()
	script := `mkdir -p top/d top/o low/d low/o && touch low/gone low/stays low/o/hidden low/d/gone low/d/seen &&
		touch top/.wh.gone top/d/.wh.gone top/o/.wh..wh..opq top/o/own`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plain := filepath.Join(dir, "plain")
	if err := Flatten([]string{filepath.Join(dir, "top"), filepath.Join(dir, "low")}, plain); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(hash(t, plain, treehash.Options{}).Paths(), " ")
	if want := ". d d/seen o o/own stays"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
