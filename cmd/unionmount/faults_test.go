package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLayerVanishes while mounted: what was in it fails, what is in the upper goes on, nothing hangs.
func TestLayerVanishes(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		write(t, s.lowers[0]+"/d/known", "x")
		write(t, s.lowers[0]+"/d/unknown", "x")
		write(t, s.lowers[1]+"/stays", "x")
		s.mount("--io", io)
		wantListing(t, s.in("d"), "known", "unknown")
		s.forget(s.lowers[0])
		must(t, os.RemoveAll(s.lowers[0]))
		if err := os.WriteFile(s.in("d/unknown"), []byte("y"), 0o644); err != nil && errnoOf(err) == unix.EUCLEAN {
			t.Errorf("write to a file that vanished: %v", err)
		}
		os.ReadDir(s.in("d"))
		os.ReadFile(s.in("d/known"))
		os.Rename(s.in("d"), s.in("e"))
		wantContent(t, s.in("stays"), "x")
		write(t, s.in("new"), "still works")
		wantContent(t, s.in("new"), "still works")
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

// TestCorruptMarks: a mark that makes no sense gives an errno or is passed over, and everything else goes on.
func TestCorruptMarks(t *testing.T) {
	marks := map[string]map[string]string{
		"redirect to nothing":   {"trusted.overlay.redirect": "/nowhere"},
		"redirect upwards":      {"trusted.overlay.redirect": "../../../etc"},
		"redirect to dots":      {"trusted.overlay.redirect": ".."},
		"redirect through dots": {"trusted.overlay.redirect": "/d/../../x"},
		"redirect to a file":    {"trusted.overlay.redirect": "/file"},
		"redirect to itself":    {"trusted.overlay.redirect": "/bad"},
		"redirect empty":        {"trusted.overlay.redirect": ""},
		"redirect too long":     {"trusted.overlay.redirect": "/" + strings.Repeat("x/", 1500)},
		"redirect with a NUL":   {"trusted.overlay.redirect": "d\x00e"},
		"opaque nonsense":       {"trusted.overlay.opaque": "maybe"},
		"origin nonsense":       {"trusted.overlay.origin": "\x00\xfb\xff\xff"},
		"origin too long":       {"trusted.overlay.origin": strings.Repeat("o", 1000)},
		"nlink nonsense":        {"trusted.overlay.nlink": "U+many"},
	}
	eachIO(t, func(t *testing.T, io string) {
		for what, attrs := range marks {
			t.Run(what, func(t *testing.T) {
				s := newSite(t, 1)
				write(t, s.lowers[0]+"/d/f", "x")
				write(t, s.lowers[0]+"/file", "lower")
				write(t, s.upper+"/bad/own", "upper")
				write(t, s.upper+"/bad-file", "upper")
				for name, value := range attrs {
					must(t, unix.Setxattr(s.upper+"/bad", name, []byte(value), 0))
					must(t, unix.Setxattr(s.upper+"/bad-file", name, []byte(value), 0))
				}
				s.mount("--io", io)
				for i, err := range []error{
					unix.Access(s.in("bad"), unix.R_OK),
					unix.Access(s.in("bad/own"), unix.R_OK),
					unix.Chmod(s.in("bad"), 0o700),
					unix.Rename(s.in("bad"), s.in("bad2")),
					openClose(s.in("bad-file"), unix.O_RDWR),
				} {
					if errnoOf(err) == unix.EUCLEAN {
						t.Errorf("call %d: no errno: %v", i, err)
					}
				}
				if names, err := os.ReadDir(s.in("bad2")); err == nil {
					for _, n := range names {
						if n.Name() == "passwd" || n.Name() == "hosts" {
							t.Errorf("the mark leads out of the layers: %v", names)
						}
					}
				}
				wantContent(t, s.in("file"), "lower")
				wantContent(t, s.in("d/f"), "x")
				write(t, s.in("new"), fmt.Sprint(what))
				if got := s.inspect().State; got != "running" {
					t.Errorf("state %q", got)
				}
				s.umount()
			})
		}
	})
}
