package archive

import (
	"bytes"
	"context"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func need(t *testing.T, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "not root")
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			suite.Absent(t, "no "+c)
		}
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// sample makes a tree with everything that a tar can hold, and files with holes at
// the start, in the middle and at the end.
func sample(t *testing.T) string {
	t.Helper()
	seed := rand.Int63()
	t.Logf("seed %d", seed)
	layers, err := startree.Layers(t.TempDir(), 1, seed, startree.Options{Names: 150, Root: os.Geteuid() == 0, ACL: true})
	must(t, err)
	root := layers[0]
	for name, at := range map[string][]int64{"start": {8 << 20}, "middle": {0, 9 << 20}, "end": {0}, "hole": nil, "several": {1 << 20, 2 << 20, 5 << 20}} {
		f, err := os.Create(root + "/sparse-" + name)
		must(t, err)
		for _, off := range at {
			_, err = f.WriteAt(bytes.Repeat([]byte("data"), 3000), off)
			must(t, err)
		}
		if name != "start" {
			must(t, f.Truncate(10<<20))
		}
		must(t, f.Close())
	}
	must(t, os.WriteFile(root+"/zeros", make([]byte, 1<<20), 0o644))
	if os.Geteuid() == 0 {
		must(t, os.Lchown(root+"/sparse-end", 3_000_000, 4_000_000))
	}
	drop(t, root, func(_ string, e treehash.Entry) bool { return e.Mode&unix.S_IFMT == unix.S_IFSOCK }) // a tar can't hold one
	return root
}

// drop removes what a tar, or one of its forms, can't hold.
func drop(t *testing.T, root string, which func(p string, e treehash.Entry) bool) {
	t.Helper()
	h := hashTree(t, root)
	for _, p := range h.Paths() {
		if which(p, h[p]) {
			must(t, os.RemoveAll(root+"/"+p))
		}
	}
}

// hashTree describes a tree, but for access times, which reading links changes.
func hashTree(t *testing.T, dir string) treehash.Tree {
	t.Helper()
	h, err := treehash.Hash(dir, treehash.Options{})
	must(t, err)
	return h
}

func equal(t *testing.T, a, b string) {
	t.Helper()
	if d := treehash.Diff(hashTree(t, a), hashTree(t, b)); d != nil {
		t.Errorf("%s and %s differ:\n%s", a, b, strings.Join(d, "\n"))
	}
}

// equalOnDisk compares how much files with and without holes take.
func equalOnDisk(t *testing.T, a, b string) {
	t.Helper()
	for _, name := range []string{"sparse-start", "sparse-middle", "sparse-end", "sparse-hole", "sparse-several", "zeros"} {
		var x, y unix.Stat_t
		must(t, unix.Stat(a+"/"+name, &x))
		must(t, unix.Stat(b+"/"+name, &y))
		if d := x.Blocks - y.Blocks; d < -16 || d > 16 {
			t.Errorf("%s takes %d blocks, and took %d", name, y.Blocks, x.Blocks)
		}
	}
}

func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func pack(t *testing.T, root string) []byte {
	t.Helper()
	var b bytes.Buffer
	st, err := Pack(context.Background(), &b, open(t, root), PackOptions{})
	must(t, err)
	if len(st.Digest) != 64 || st.Objects == 0 {
		t.Errorf("packed %+v", st)
	}
	return b.Bytes()
}

func unpack(t *testing.T, archive io.Reader, o UnpackOptions) (dir string, st Stats, err error) {
	t.Helper()
	dir = t.TempDir()
	st, err = Unpack(context.Background(), archive, open(t, dir), o)
	return dir, st, err
}

func plain(t *testing.T, archive []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(archive))
	must(t, err)
	defer z.Close()
	b, err := io.ReadAll(z)
	must(t, err)
	return b
}

var all = UnpackOptions{Devices: true, Outward: true}

func TestRoundTrip(t *testing.T) {
	root := sample(t)
	must(t, unix.Lutimes(root+"/sparse-hole", []unix.Timeval{{Sec: -2, Usec: 250_000}, {Sec: -7, Usec: 1}})) // before 1970
	archive := pack(t, root)
	if again := pack(t, root); !bytes.Equal(plain(t, archive), plain(t, again)) {
		t.Error("the same tree gave two archives")
	}
	told := int64(0)
	telling := all
	telling.Tell = func(_ Stats, read int64) { told = read }
	dir, st, err := unpack(t, bytes.NewReader(archive), telling)
	must(t, err)
	equal(t, root, dir)
	equalOnDisk(t, root, dir)
	if told == 0 || told > int64(len(archive)) {
		t.Errorf("told of %d bytes read of %d", told, len(archive))
	}
	if len(st.Digest) != 64 || st.Lost.String() != "" {
		t.Errorf("unpacked %+v", st)
	}
	// without compression the checksum is verified as well
	dir, st, err = unpack(t, bytes.NewReader(plain(t, archive)), all)
	must(t, err)
	equal(t, root, dir)
	if len(st.Digest) != 64 {
		t.Errorf("unpacked %+v", st)
	}
}

// TestRoundTripOfPlainUser: he packs what he may read, and gets all but what only root sets.
func TestRoundTripOfPlainUser(t *testing.T) {
	need(t)
	root, dir := sample(t), t.TempDir()
	drop(t, root, func(p string, e treehash.Entry) bool {
		must(t, os.Lchown(root+"/"+p, 1000, 1000))
		return e.Mode&unix.S_IFMT == unix.S_IFCHR || e.Mode&unix.S_IFMT == unix.S_IFBLK
	})
	must(t, os.WriteFile(root+"/foreign", []byte("root's"), 0o644))
	_ = unix.Lremovexattr(root+"/foreign", xattrAccess) // that the root may have passed on
	must(t, unix.Chmod(root+"/foreign", 0o6755))
	must(t, os.Chown(dir, 1000, 1000))
	for _, d := range []string{dir, filepath.Dir(dir), root, filepath.Dir(root), filepath.Dir(filepath.Dir(root))} {
		must(t, os.Chmod(d, 0o755))
	}
	from, to := open(t, root), open(t, dir)
	var b bytes.Buffer
	var st Stats
	var err error
	suite.AsUser(t, 1000, func() {
		if _, err = Pack(context.Background(), &b, from, PackOptions{}); err == nil {
			st, err = Unpack(context.Background(), bytes.NewReader(b.Bytes()), to, UnpackOptions{Outward: true})
		}
	})
	must(t, err)
	if st.Lost.Owners != 1 || st.Lost.String() != "1 owners" {
		t.Errorf("lost: %+v", st.Lost)
	}
	if mode := hashTree(t, dir)["foreign"].Mode; mode != unix.S_IFREG|0o755 {
		t.Errorf("root's set-id file has mode %o", mode)
	}
	x, y := hashTree(t, root), hashTree(t, dir)
	for _, h := range []treehash.Tree{x, y} {
		for p, e := range h {
			if e.Xattrs = ""; p == "foreign" { // trusted.* isn't his
				e = treehash.Entry{Content: e.Content}
			}
			h[p] = e
		}
	}
	if d := treehash.Diff(x, y); d != nil {
		t.Errorf("not what was packed:\n%s", strings.Join(d, "\n"))
	}
}

// TestOtherTarsReadOurs: as root, with all attributes.
func TestOtherTarsReadOurs(t *testing.T) {
	for name, command := range map[string][]string{
		"tar":    {"tar", "--extract", "--preserve-permissions", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"},
		"bsdtar": {"bsdtar", "-x", "-p", "--same-owner", "--numeric-owner", "--xattrs", "--acls"},
	} {
		t.Run(name, func(t *testing.T) {
			need(t, command[0])
			root := sample(t)
			if name == "bsdtar" {
				t.Setenv("LC_ALL", "C.UTF-8")
				drop(t, root, func(p string, _ treehash.Entry) bool { return !utf8.ValidString(p) })
			}
			file := t.TempDir() + "/t.tar"
			must(t, os.WriteFile(file, plain(t, pack(t, root)), 0o600))
			dir := t.TempDir()
			run(t, command[0], append(command[1:], "-f", file, "-C", dir)...)
			if name == "bsdtar" { // which sets no times of a directory that was there
				at := time.Unix(0, hashTree(t, root)["."].Mtime)
				must(t, os.Chtimes(dir, at, at))
			}
			equal(t, root, dir)
			equalOnDisk(t, root, dir)
		})
	}
}

// TestReadsOtherTars: each form that GNU tar and bsdtar write.
func TestReadsOtherTars(t *testing.T) {
	xattrs := []string{"--xattrs", "--xattrs-include=*", "--acls", "--format=pax", "--pax-option=delete=ctime"}
	for name, command := range map[string][]string{
		"pax":        append([]string{"tar"}, xattrs...),
		"sparse 0.0": append([]string{"tar", "-S", "--sparse-version=0.0"}, xattrs...),
		"sparse 0.1": append([]string{"tar", "-S", "--sparse-version=0.1"}, xattrs...),
		"sparse 1.0": append([]string{"tar", "-S", "--sparse-version=1.0"}, xattrs...),
		"gzip":       append([]string{"tar", "-z"}, xattrs...),
		"bsdtar":     {"bsdtar", "--format=pax", "--xattrs", "--acls"},
		"gnu":        {"tar", "--format=gnu", "-S"},
		"ustar":      {"tar", "--format=ustar"},
	} {
		t.Run(name, func(t *testing.T) {
			need(t, command[0])
			root := sample(t)
			file := t.TempDir() + "/t.tar"
			switch name {
			case "ustar":
				must(t, os.Lchown(root+"/sparse-end", 1, 1)) // its number has no place there
				drop(t, root, func(p string, _ treehash.Entry) bool { return len(filepath.Base(p)) > 90 || len(p) > 150 })
			case "bsdtar":
				t.Setenv("LC_ALL", "C.UTF-8")
				drop(t, root, func(p string, _ treehash.Entry) bool { return !utf8.ValidString(p) })
			}
			run(t, command[0], append(command[1:], "--numeric-owner", "-c", "-f", file, "-C", root, ".")...)
			f, err := os.Open(file)
			must(t, err)
			defer f.Close()
			dir, st, err := unpack(t, f, all)
			must(t, err)
			if st.Digest != "" {
				t.Error("a checksum from nowhere")
			}
			a, b := hashTree(t, root), hashTree(t, dir)
			if name == "gnu" || name == "ustar" { // whole seconds, no attributes
				for _, h := range []treehash.Tree{a, b} {
					for p, e := range h {
						e.Mtime, e.Xattrs = e.Mtime/1e9, ""
						h[p] = e
					}
				}
			}
			if d := treehash.Diff(a, b); d != nil {
				t.Errorf("not what was packed:\n%s", strings.Join(d, "\n"))
			}
		})
	}
}
