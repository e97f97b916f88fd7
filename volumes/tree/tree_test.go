package tree

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

// sample makes a tree with everything in it, and a file that is mostly a hole.
func sample(t *testing.T, dir string) string {
	t.Helper()
	seed := rand.Int63()
	t.Logf("seed %d", seed)
	layers, err := startree.Layers(dir, 1, seed, startree.Options{Names: 120, Root: os.Geteuid() == 0, ACL: true})
	must(t, err)
	f, err := os.Create(layers[0] + "/sparse")
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 8<<20)
	must(t, errors.Join(err, f.Truncate(16<<20), f.Close()))
	return layers[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a directory until the test ends.
func open(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// hash describes a tree. Nothing but a mount without access times keeps readlink(2)
// from changing a link's: that one is left out.
func hash(t *testing.T, dir string) treehash.Tree {
	t.Helper()
	h, err := treehash.Hash(dir, treehash.Options{Atime: true})
	must(t, err)
	for p, e := range h {
		if e.Mode&unix.S_IFMT == unix.S_IFLNK {
			e.Atime = 0
			h[p] = e
		}
	}
	return h
}

func equal(t *testing.T, a, b string) {
	t.Helper()
	if d := treehash.Diff(hash(t, a), hash(t, b)); d != nil {
		t.Errorf("%s and %s differ:\n%s", a, b, strings.Join(d, "\n"))
	}
	var st unix.Stat_t
	must(t, unix.Stat(b+"/sparse", &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d bytes on disk", st.Blocks*512)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "not root")
	}
}

// disk mounts a new file system.
func disk(t *testing.T, mkfs ...string) string {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		suite.Absent(t, "no "+mkfs[0])
	}
	dir := t.TempDir()
	at := mkdir(t, dir+"/at")
	run(t, "truncate", "-s", "320M", dir+"/image")
	run(t, mkfs[0], append(mkfs[1:], dir+"/image")...)
	run(t, "mount", "-o", "loop", dir+"/image", at)
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestCopyIsEqual(t *testing.T) {
	dir := t.TempDir()
	from := sample(t, dir)
	before := hash(t, from)
	to := mkdir(t, dir+"/to")
	var told Result
	r, err := Copy(context.Background(), open(t, from), open(t, to), Options{Tell: func(r Result) { told = r }})
	must(t, err)
	equal(t, from, to)
	if r.Objects != told.Objects || r.Objects < 50 || r.Copied == 0 || r.Lost != (Lost{}) {
		t.Errorf("result %+v, told %+v", r, told)
	}
	if d := treehash.Diff(before, hash(t, from)); d != nil {
		t.Errorf("the original was changed:\n%s", strings.Join(d, "\n"))
	}
}

// TestCopySharesBlocks: no data is copied where the file system has reflinks.
func TestCopySharesBlocks(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			at := disk(t, "mkfs."+kind, "-q")
			from := sample(t, at)
			to := mkdir(t, at+"/to")
			r, err := Copy(context.Background(), open(t, from), open(t, to), Options{})
			must(t, err)
			equal(t, from, to)
			if r.Copied != 0 || r.Shared < 16<<20 {
				t.Errorf("%+v: want all shared", r)
			}
			// another file system gets copies
			r, err = Copy(context.Background(), open(t, from), open(t, mkdir(t, t.TempDir()+"/to")), Options{})
			must(t, err)
			if r.Shared != 0 || r.Copied == 0 {
				t.Errorf("to another file system: %+v", r)
			}
		})
	}
}

// TestCopyByPlainUser: what he may not keep is counted, and no set-id bit goes to the wrong owner.
func TestCopyByPlainUser(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	from, to := mkdir(t, dir+"/from"), mkdir(t, dir+"/to")
	for name, mode := range map[string]uint32{"roots": 0o4755, "group": 0o2755, "mine": 0o4755, "acl": 0o640} {
		must(t, os.WriteFile(from+"/"+name, []byte(name), 0o644))
		if name != "roots" {
			must(t, os.Chown(from+"/"+name, 1000, 1000))
		}
		if name == "group" {
			must(t, os.Chown(from+"/"+name, 1000, 0))
		}
		must(t, unix.Chmod(from+"/"+name, mode))
	}
	must(t, unix.Lsetxattr(from+"/acl", "system.posix_acl_access", []byte(startree.ACL(0o640, 6, 1001, 1001)), 0))
	must(t, unix.Lsetxattr(from+"/acl", "user.a", []byte("b"), 0))
	must(t, unix.Lsetxattr(from+"/mine", "security.capability", []byte(startree.Capability()), 0))
	must(t, os.Chown(to, 1000, 1000))
	must(t, os.Chown(from, 1000, 1000))
	fromFd, toFd := open(t, from), open(t, to)
	suite.AsUser(t, 1000, func() {
		r, err := Copy(context.Background(), fromFd, toFd, Options{})
		if err != nil || r.Lost != (Lost{Owners: 2, Attributes: 1}) {
			t.Errorf("Copy: %+v, %v", r, err)
		}
	})
	for name, want := range map[string]uint32{"roots": 0o755, "group": 0o755, "mine": 0o4755, "acl": 0o660} {
		var st unix.Stat_t
		must(t, unix.Stat(to+"/"+name, &st))
		if st.Uid != 1000 || st.Gid != 1000 || st.Mode&0o7777 != want {
			t.Errorf("%s: %d:%d mode %o, want mode %o", name, st.Uid, st.Gid, st.Mode&0o7777, want)
		}
	}
	unreadable := mkdir(t, from+"/closed")
	must(t, os.Chmod(unreadable, 0o700))
	again := open(t, mkdir(t, dir+"/again"))
	must(t, os.Chown(dir+"/again", 1000, 1000))
	suite.AsUser(t, 1000, func() {
		if _, err := Copy(context.Background(), fromFd, again, Options{}); !errors.Is(err, unix.EACCES) || !strings.Contains(fmt.Sprint(err), "closed") {
			t.Errorf("a directory closed to him: %v", err)
		}
	})
}

// TestCopyRefusesMounts: what a mount hides would be missing in the copy.
func TestCopyRefusesMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	inner := mkdir(t, dir+"/from/a/inner")
	run(t, "mount", "-t", "tmpfs", "tmpfs", inner)
	t.Cleanup(func() { run(t, "umount", inner) })
	_, err := Copy(context.Background(), open(t, dir+"/from"), open(t, mkdir(t, dir+"/to")), Options{})
	if !errors.Is(err, ErrMounted) || !strings.Contains(err.Error(), "a/inner") {
		t.Errorf("Copy over a mount: %v", err)
	}
}

// TestCopyDeep: a path longer than the kernel takes at once, and more levels than descriptors.
func TestCopyDeep(t *testing.T) {
	dir := t.TempDir()
	from := mkdir(t, dir+"/from")
	at := open(t, from)
	name := strings.Repeat("d", 200)
	for range 60 {
		must(t, unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(next)
		at = next
	}
	must(t, unix.Mkfifoat(at, "end", 0o600))
	to := mkdir(t, dir+"/to")
	r, err := Copy(context.Background(), open(t, from), open(t, to), Options{})
	must(t, err)
	if r.Objects != 62 {
		t.Errorf("%d objects, want 62", r.Objects)
	}
}

// TestCopyLive: files come, grow, move and go while they are copied; that ends no live copy.
func TestCopyLive(t *testing.T) {
	dir := t.TempDir()
	from := mkdir(t, dir+"/from")
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			d := fmt.Sprintf("%s/d%d", from, i%20)
			_ = os.Mkdir(d, 0o755)
			_ = os.WriteFile(d+"/f", []byte("content"), 0o644)
			_ = os.Rename(d+"/f", from+"/g")
			_ = os.Rename(d, d+"x")
			_ = os.RemoveAll(d + "x")
			_ = os.Symlink("g", d)
			_ = os.Remove(d)
		}
	}()
	for i := range 200 {
		to := open(t, mkdir(t, fmt.Sprintf("%s/to%d", dir, i)))
		if _, err := Copy(context.Background(), open(t, from), to, Options{Live: true}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
}

func TestCopyEnds(t *testing.T) {
	dir := t.TempDir()
	from := sample(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Copy(ctx, open(t, from), open(t, mkdir(t, dir+"/cancelled")), Options{Tell: func(Result) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	needRoot(t)
	full := mkdir(t, dir+"/full")
	run(t, "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", full)
	t.Cleanup(func() { run(t, "umount", full) })
	must(t, os.WriteFile(from+"/big", make([]byte, 1<<20), 0o644))
	if _, err := Copy(context.Background(), open(t, from), open(t, full), Options{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
}
