package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
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
	dir, st, err := unpack(t, bytes.NewReader(archive), all)
	must(t, err)
	equal(t, root, dir)
	equalOnDisk(t, root, dir)
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

// entries makes a plain tar.
func entries(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		must(t, w.WriteHeader(&h))
		_, err := io.CopyN(w, zeros{}, h.Size)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3} }
func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}
func symlink(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}
func dir(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

// TestForged: nothing that leads out, comes twice or wasn't asked for.
func TestForged(t *testing.T) {
	base := t.TempDir()
	must(t, os.WriteFile(base+"/victim", []byte("whole"), 0o600))
	must(t, os.Mkdir(base+"/root", 0o755))
	for name, c := range map[string]struct {
		archive []byte
		why     string
	}{
		"dots":                {entries(t, file("../victim")), "leads out"},
		"dots inside":         {entries(t, dir("a"), file("a/../../victim")), "leads out"},
		"dots that stay":      {entries(t, dir("a"), file("a/../b")), "leads out"},
		"absolute":            {entries(t, file(base+"/victim")), "absolute"},
		"absolute symlink":    {entries(t, symlink("a", "/etc/passwd")), "--outward-links"},
		"symlink out":         {entries(t, symlink("a", "../victim")), "--outward-links"},
		"symlink out below":   {entries(t, symlink("d/a", "../../victim")), "--outward-links"},
		"hard link out":       {entries(t, link("a", "../victim")), "hard link out"},
		"hard link absolute":  {entries(t, link("a", base+"/victim")), "hard link out"},
		"hard link to no one": {entries(t, link("a", "victim")), "isn't there"},
		"hard link to a dir":  {entries(t, dir("d"), link("a", "d")), "isn't there before it or is a directory"},
		"through a symlink":   {entries(t, dir("d"), symlink("s", "d"), file("s/f")), "no directory"},
		"through to outside":  {entries(t, symlink("s", "x/.."), file("s/f")), "no directory"},
		"link through":        {entries(t, dir("d"), file("d/f"), symlink("s", "d"), link("l", "s/f")), "no directory"},
		"over a symlink":      {entries(t, symlink("s", "d"), file("s")), "twice"},
		"a dir over one":      {entries(t, symlink("s", "d"), dir("s")), "twice"},
		"twice":               {entries(t, file("a"), file("a")), "twice"},
		"a directory twice":   {entries(t, dir("a"), dir("a")), "twice"},
		"below a file":        {entries(t, file("a"), file("a/b")), "no directory"},
		"a device":            {entries(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}), "--devices"},
		"a block device":      {entries(t, tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}), "--devices"},
		"the root a file":     {entries(t, file(".")), "no directory"},
		"a bad ACL":           {entries(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{paxAccess: "user::rwz"}}), "ACL"},
		"an unknown type":     {entries(t, tar.Header{Name: "f", Typeflag: 'Z'}), "unknown type"},
		"too large":           {entries(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 2 << 20}), "--max-size"},
		"empty":               {nil, "empty"},
		"garbage":             {bytes.Repeat([]byte("garbage!"), 1000), "no tar"},
		"zstd of garbage":     {squeeze(t, bytes.Repeat([]byte("garbage!"), 1000)), "no tar"},
		"broken zstd":         {append([]byte("\x28\xb5\x2f\xfd"), bytes.Repeat([]byte{0xff}, 900)...), ""},
		"broken gzip":         {[]byte("\x1f\x8b garbage"), ""},
		"bzip2":               {[]byte("BZh91AY&SY"), "decompress it first"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unpack(context.Background(), bytes.NewReader(c.archive), open(t, fresh(t, base)), UnpackOptions{MaxSize: 1 << 20})
			if !errors.Is(err, ErrRefused) || !strings.Contains(fmt.Sprint(err), c.why) {
				t.Errorf("%v, want a refusal with %q", err, c.why)
			}
			if text, err := os.ReadFile(base + "/victim"); err != nil || string(text) != "whole" {
				t.Errorf("the victim: %q, %v", text, err)
			}
		})
	}
}

// fresh makes the directory base/root anew.
func fresh(t *testing.T, base string) string {
	t.Helper()
	must(t, os.RemoveAll(base+"/root"))
	must(t, os.Mkdir(base+"/root", 0o755))
	return base + "/root"
}

func squeeze(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	must(t, err)
	return z.EncodeAll(b, nil)
}

// TestBombs: small archives that would become large ones in data, names, or time.
func TestBombs(t *testing.T) {
	names := make([]tar.Header, 3000)
	for i := range names {
		names[i] = tar.Header{Name: fmt.Sprint("f", i), Typeflag: tar.TypeReg}
	}
	deep := tar.Header{Name: strings.Repeat("d/", 3000), Typeflag: tar.TypeDir}
	for name, archive := range map[string][]byte{
		"zeros": squeeze(t, entries(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 64 << 20})),
		"names": squeeze(t, entries(t, names...)),
		"deep":  entries(t, deep),
		"holes": plain(t, pack(t, holes(t, 1<<40))),
	} {
		_, _, err := unpack(t, bytes.NewReader(archive), UnpackOptions{MaxSize: 1 << 20})
		if !errors.Is(err, ErrRefused) || !strings.Contains(fmt.Sprint(err), "too large") {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	tail := append(entries(t, file("f")), make([]byte, maxTail+1)...)
	if _, _, err := unpack(t, bytes.NewReader(squeeze(t, tail)), all); !errors.Is(err, ErrRefused) {
		t.Errorf("an endless tail: %v", err)
	}
	// a file of 32 MiB of which nearly all is a hole is fine
	if _, st, err := unpack(t, bytes.NewReader(pack(t, holes(t, 32<<20))), UnpackOptions{MaxSize: 1 << 20}); err != nil || st.Bytes > 8192 {
		t.Errorf("holes: %+v, %v", st, err)
	}
}

func holes(t *testing.T, size int64) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.WriteFile(root+"/f", []byte("f"), 0o644))
	must(t, os.Truncate(root+"/f", size))
	return root
}

// TestDamaged: an archive that lacks any of its end, or in which any byte was changed, is refused.
func TestDamaged(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(root+"/f", bytes.Repeat([]byte("content\n"), 100), 0o644))
	must(t, os.Mkdir(root+"/d", 0o755))
	must(t, os.WriteFile(root+"/d/last", nil, 0o644))
	archive := pack(t, root)
	text := plain(t, archive)
	refused := func(what string, b []byte) {
		t.Helper()
		dir := t.TempDir()
		_, err := Unpack(context.Background(), bytes.NewReader(b), open(t, dir), all)
		if err == nil && treehash.Diff(hashTree(t, root), hashTree(t, dir)) == nil {
			return // what fills up a block means nothing
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
	for n := 0; n < len(archive); n += 1 + n/8 {
		refused(fmt.Sprintf("zstd cut to %d of %d", n, len(archive)), archive[:n])
	}
	refused("zstd without its last byte", archive[:len(archive)-1])
	whole := len(text) - 2*blockSize // the mark of the end says nothing that the checksum doesn't
	for n := 0; n <= whole; n += blockSize / 2 {
		refused(fmt.Sprintf("tar cut to %d of %d", n, len(text)), text[:n])
	}
	seed := rand.Int63()
	rng := rand.New(rand.NewSource(seed))
	for range 300 {
		at := rng.Intn(whole)
		changed := bytes.Clone(text)
		changed[at] ^= byte(1 + rng.Intn(255))
		refused(fmt.Sprintf("seed %d: tar with another byte %d", seed, at), changed)
	}
	refused("an entry behind the checksum", append(bytes.Clone(text[:whole]), entries(t, file("more"))...))
	if _, _, err := unpack(t, bytes.NewReader(text), all); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

// TestSourceFails: what fails below the archive is no fault of the archive.
func TestSourceFails(t *testing.T) {
	r := io.MultiReader(bytes.NewReader(entries(t, file("a"))[:600]), failing{})
	if _, _, err := unpack(t, r, all); errors.Is(err, ErrRefused) || !errors.Is(err, unix.EIO) {
		t.Errorf("a disk that fails: %v", err)
	}
	need(t, "mount", "umount")
	full := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", full)
	t.Cleanup(func() { run(t, "umount", full) })
	big := entries(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 1 << 20})
	for what, o := range map[string]UnpackOptions{"its own guard": {}, "none": {MaxSize: 1 << 30}} {
		_, err := Unpack(context.Background(), bytes.NewReader(big), open(t, full), o)
		if what == "none" && !errors.Is(err, unix.ENOSPC) || what != "none" && !errors.Is(err, ErrRefused) {
			t.Errorf("a full disk, %s: %v", what, err)
		}
		must(t, os.RemoveAll(full+"/f"))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, unix.EIO }

// FuzzUnpack: whatever the stream, nothing outside the root is touched, and nothing inside that wasn't asked for.
func FuzzUnpack(f *testing.F) {
	f.Add(entries(f, dir("d"), file("d/f"), link("l", "d/f"), symlink("s", "d")))
	f.Add(entries(f, file("../victim"), symlink("s", ".."), file("s/victim")))
	f.Add(squeeze(f, entries(f, symlink("d", ".."), link("l", "d/victim"))))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		base := t.TempDir()
		must(t, os.WriteFile(base+"/victim", []byte("whole"), 0o600))
		must(t, os.Mkdir(base+"/root", 0o755))
		before := hashTree(t, base)
		_, err := Unpack(context.Background(), bytes.NewReader(archive), open(t, base+"/root"), UnpackOptions{MaxSize: 1 << 20})
		after := hashTree(t, base)
		for p, e := range after {
			switch kind := e.Mode & unix.S_IFMT; {
			case kind == unix.S_IFCHR || kind == unix.S_IFBLK:
				t.Errorf("%q is a device", p)
			case kind == unix.S_IFLNK && outward(strings.TrimPrefix(p, "root/"), e.Target):
				t.Errorf("%q leads out, to %q", p, e.Target)
			}
			if strings.HasPrefix(p, "root") {
				delete(after, p)
			}
		}
		delete(before, "root")
		if d := treehash.Diff(before, after); d != nil {
			t.Errorf("outside the root (%v): %v", err, d)
		}
	})
}
