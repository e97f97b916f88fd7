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
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

// entries makes a plain tar.
func entries(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
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
		"symlink chained":     {entries(t, symlink("d", "."), symlink("y", "d/..")), "--outward-links"},
		"symlink out below":   {entries(t, symlink("d/a", "../../victim")), "--outward-links"},
		"hard link out":       {entries(t, link("a", "../victim")), "hard link out"},
		"hard link absolute":  {entries(t, link("a", base+"/victim")), "hard link out"},
		"hard link to no one": {entries(t, link("a", "victim")), "isn't there"},
		"hard link to a dir":  {entries(t, dir("d"), link("a", "d")), "isn't there before it or is a directory"},
		"through a symlink":   {entries(t, dir("d"), symlink("s", "d"), file("s/f")), "no directory"},
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
		"a later version":     {entries(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "unionmount volume 2"}}), "version 2"},
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

// TestPackEnds: one that is cancelled, or whose output fails, writes nothing any more when it returns.
func TestPackEnds(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(root+"/f", bytes.Repeat([]byte("content"), 1<<20), 0o644))
	ctx, cancel := context.WithCancel(context.Background())
	var b bytes.Buffer
	if _, err := Pack(ctx, &b, open(t, root), PackOptions{Tell: func(Stats) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, err := unpack(t, bytes.NewReader(b.Bytes()), all); !errors.Is(err, ErrRefused) {
		t.Errorf("what a cancelled one wrote: %v", err)
	}
	if _, err := Pack(context.Background(), full{}, open(t, root), PackOptions{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }
