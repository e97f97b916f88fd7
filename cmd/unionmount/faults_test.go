package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// wantLogged: the daemon's log has a line with each of the words, and no request panicked.
func (s *site) wantLogged(words ...string) {
	s.t.Helper()
	text, err := os.ReadFile(s.root + "/log/m.log")
	must(s.t, err)
	found := false
	for line := range strings.Lines(string(text)) {
		found = found || !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	}
	if !found {
		s.t.Errorf("no line of the log has %q:\n%s", words, text)
	}
	if strings.Contains(string(text), "panic") {
		s.t.Errorf("a request panicked:\n%s", text)
	}
}

// TestLayerVanishes while mounted: what was in it fails with ENOENT, which the log explains, what is in the upper and in
// other layers goes on, nothing hangs. The log was silent: ENOENT was taken for the asker's own doing.
func TestLayerVanishes(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		write(t, s.lowers[0]+"/d/known", "x")
		write(t, s.lowers[0]+"/d/unknown", "x")
		write(t, s.lowers[1]+"/stays", "x")
		s.mount("--io", io, "--log-level", "warn")
		wantListing(t, s.in("d"), "known", "unknown")
		lstat(t, s.in("d/known"))
		s.forget(s.lowers[0])
		must(t, os.RemoveAll(s.lowers[0]))
		for _, call := range []struct {
			what   string
			do     func() error
			logged string // the path in the log; "": nothing tells this from a name that never was
		}{
			{"read", func() error { _, err := os.ReadFile(s.in("d/known")); return err }, `read \"d/known\"`},
			{"write", func() error { return writeAt(s.in("d/known"), "y", 0) }, `d/known`},
			{"change of mode", func() error { return os.Chmod(s.in("d/known"), 0o600) }, `change attributes of \"d/known\"`},
			{"stat of what was never looked up", func() error { return lstatOnly(s.in("d/never")) }, ""},
			{"create", func() error { return os.WriteFile(s.in("d/new"), []byte("y"), 0o644) }, `copy up \"d\"`},
			{"rename of a directory", func() error { return os.Rename(s.in("d"), s.in("e")) }, `copy up \"d\"`},
			{"link", func() error { return os.Link(s.in("d/known"), s.in("link")) }, `copy up \"d`},
			{"listing of the root", func() error { _, err := os.ReadDir(s.mnt); return err }, `list \"\"`},
		} {
			wantErrno(t, call.what, call.do(), unix.ENOENT)
			if call.logged != "" {
				s.wantLogged("gone from its layer", call.logged)
			}
		}
		wantContent(t, s.in("stays"), "x")
		write(t, s.in("new"), "still works")
		wantContent(t, s.in("new"), "still works")
		wantListing(t, s.upper, "new")
		wantListing(t, s.work+"/work")
		if got := s.inspect().State; got != "running" {
			t.Errorf("state %q", got)
		}
		s.umount()
	})
}

// TestDiskFull: ENOSPC, nothing of what was there is lost, and it goes on when there is room again.
func TestDiskFull(t *testing.T) {
	eachIO(t, func(t *testing.T, contract string) { diskFull(t, "--io", contract) })
	aside(t, "nothing held back", func(t *testing.T) { diskFull(t, "--io", "cached", "-o", "writeback=off") })
}

func diskFull(t *testing.T, flags ...string) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "head -c 33554432 /dev/urandom > big; echo small > small")
	s.upperOnDisk("16M", "mkfs.ext4", "-q", "-m", "0")
	s.mount(flags...)
	write(t, s.in("kept"), "kept\n")
	big, err := hashFile(s.in("big"))
	must(t, err)
	wantErrno(t, "copy-up without room", os.Chmod(s.in("big"), 0o600), unix.ENOSPC)
	wantErrno(t, "write that needs a copy-up", writeAt(s.in("big"), "x", 5), unix.ENOSPC)
	wantErrno(t, "append that needs a copy-up", addTo(s.in("big"), "more"), unix.ENOSPC)
	again, err := hashFile(s.in("big"))
	if again != big {
		t.Errorf("the lower file reads differently after the failed copy-up: %v", err)
	}
	wantAbsent(t, s.upper+"/big")
	wantListing(t, s.work+"/work")
	f, err := os.Create(s.in("filler"))
	must(t, err)
	chunk := bytes.Repeat([]byte("filler"), 10_000)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if errors.Is(err, io.ErrShortWrite) {
		_, err = f.Write(chunk)
	}
	wantErrno(t, "write", err, unix.ENOSPC)
	f.Close()
	s.wantLogged(`\"big\"`, unix.ENOSPC.Error())
	s.wantLogged(`\"filler\"`, unix.ENOSPC.Error())
	wantContent(t, s.in("kept"), "kept\n")
	wantContent(t, s.in("small"), "small\n")
	must(t, os.Remove(s.in("filler")))
	appendTo(t, s.in("small"), "and more\n")
	must(t, os.Remove(s.in("big")))
	s.remount()
	wantContent(t, s.in("small"), "small\nand more\n")
	wantListing(t, s.mnt, "kept", "small")
	s.umount()
}

// TestCorruptMarks: a mark that makes no sense gives EIO and a line in the log, or is passed over as the kernel does, and
// everything else goes on. A redirect with a NUL gave EINVAL, and no line.
func TestCorruptMarks(t *testing.T) {
	const redirect, passedOver = "overlay.redirect", unix.Errno(0)
	marks := map[string]struct {
		mark, value string
		want        unix.Errno // of what is done with the directory; on a file all of them are passed over
	}{
		"redirect to nothing":   {redirect, "/nowhere", passedOver},
		"redirect to a file":    {redirect, "/file", passedOver},
		"redirect to itself":    {redirect, "/bad", passedOver},
		"redirect upwards":      {redirect, "../../../etc", unix.EIO},
		"redirect to dots":      {redirect, "..", unix.EIO},
		"redirect through dots": {redirect, "/d/../../x", unix.EIO},
		"redirect empty":        {redirect, "", unix.EIO},
		"redirect too long":     {redirect, "/" + strings.Repeat("x/", 1500), unix.EIO},
		"redirect with a NUL":   {redirect, "d\x00e", unix.EIO},
		"opaque nonsense":       {"overlay.opaque", "maybe", passedOver},
		"origin nonsense":       {"overlay.origin", "\x00\xfb\xff\xff", passedOver},
		"origin too long":       {"overlay.origin", strings.Repeat("o", 1000), passedOver},
		"nlink nonsense":        {"overlay.nlink", "U+many", passedOver},
	}
	eachIO(t, func(t *testing.T, io string) {
		for what, c := range marks {
			t.Run(what, func(t *testing.T) {
				s := newSite(t, 1)
				write(t, s.lowers[0]+"/d/f", "x")
				write(t, s.lowers[0]+"/file", "lower")
				write(t, s.upper+"/bad/own", "upper")
				write(t, s.upper+"/bad-file", "upper")
				for _, name := range []string{"bad", "bad-file"} {
					must(t, unix.Setxattr(s.upper+"/"+name, "trusted."+c.mark, []byte(c.value), 0))
				}
				s.mount("--io", io, "--log-level", "warn")
				_, listErr := os.ReadDir(s.in("bad"))
				for _, call := range []struct {
					what string
					err  error
				}{
					{"list", listErr},
					{"stat", lstatOnly(s.in("bad"))},
					{"access within", unix.Access(s.in("bad/own"), unix.R_OK)},
					{"chmod", unix.Chmod(s.in("bad"), 0o700)},
					{"create within", os.WriteFile(s.in("bad/more"), nil, 0o600)},
					{"rename", unix.Rename(s.in("bad"), s.in("bad2"))},
				} {
					wantErrno(t, call.what, call.err, c.want)
				}
				wantErrno(t, "write to the file", writeAt(s.in("bad-file"), "U", 0), 0)
				wantContent(t, s.in("bad-file"), "Upper")
				text, err := os.ReadFile(s.root + "/log/m.log")
				must(t, err)
				if c.want == passedOver {
					wantListing(t, s.in("bad2"), "more", "own")
					if len(text) > 0 {
						t.Errorf("a mark that is passed over is in the log:\n%s", text)
					}
				} else {
					s.wantLogged(`look up \"bad\" in layer `+s.upper, "corrupt "+c.mark)
					wantListing(t, s.upper+"/bad", "own")
				}
				wantContent(t, s.in("file"), "lower")
				wantContent(t, s.in("d/f"), "x")
				write(t, s.in("new"), what)
				if got := s.inspect().State; got != "running" {
					t.Errorf("state %q", got)
				}
				s.umount()
			})
		}
	})
}

// lstatOnly is lstat(2) that may fail.
func lstatOnly(path string) error {
	var st unix.Stat_t
	return unix.Lstat(path, &st)
}
