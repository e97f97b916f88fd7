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

// TestBadInput: each case is refused before anything changes, in one line that
// names the path; the tree of the test is the same afterwards.
func TestBadInput(t *testing.T) {
	type request struct {
		upper, work, mnt string
		lowers           []string
		flags            []string
	}
	cases := []struct {
		what  string
		code  int
		alter func(s *site, r *request) (words []string)
	}{
		{"missing layer", 1, func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.dir+"/missing")
			return []string{s.dir + "/missing"}
		}},
		{"layer that is a file", 1, func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.lowers[0]+"/file")
			return []string{s.lowers[0] + "/file", "directory"}
		}},
		{"layer twice", 1, func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.lowers[0])
			return []string{s.lowers[0], "twice"}
		}},
		{"layer twice by a link", 1, func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.dir+"/link-to-lower")
			return []string{s.dir + "/link-to-lower"}
		}},
		{"upper is a layer", 1, func(s *site, r *request) []string { r.upper = s.lowers[0]; return []string{s.lowers[0]} }},
		{"upper inside a layer", 1, func(s *site, r *request) []string {
			r.upper = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir", s.lowers[0]}
		}},
		{"layer inside the upper", 1, func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.upper+"/dir")
			return []string{s.upper + "/dir", s.upper}
		}},
		{"missing upper", 1, func(s *site, r *request) []string { r.upper = s.dir + "/missing"; return []string{s.dir + "/missing"} }},
		{"upper that is a file", 1, func(s *site, r *request) []string { r.upper = s.dir + "/a-file"; return []string{s.dir + "/a-file"} }},
		{"work on another file system", 1, func(s *site, r *request) []string {
			r.work = s.dir + "/tmpfs/work"
			return []string{s.dir + "/tmpfs/work"}
		}},
		{"work is the upper", 1, func(s *site, r *request) []string { r.work = s.upper; return []string{s.upper} }},
		{"work inside the upper", 1, func(s *site, r *request) []string { r.work = s.upper + "/dir"; return []string{s.upper + "/dir"} }},
		{"work inside a layer", 1, func(s *site, r *request) []string {
			r.work = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir"}
		}},
		{"missing mountpoint", 1, func(s *site, r *request) []string { r.mnt = s.dir + "/missing"; return []string{s.dir + "/missing"} }},
		{"mountpoint that is a file", 1, func(s *site, r *request) []string { r.mnt = s.dir + "/a-file"; return []string{s.dir + "/a-file"} }},
		{"mountpoint inside a layer", 1, func(s *site, r *request) []string {
			r.mnt = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir"}
		}},
		{"mountpoint inside the upper", 1, func(s *site, r *request) []string { r.mnt = s.upper + "/dir"; return []string{s.upper + "/dir"} }},
		{"mountpoint is the upper", 1, func(s *site, r *request) []string { r.mnt = s.upper; return []string{s.upper} }},
		{"mountpoint inside a volume", 1, func(s *site, r *request) []string {
			r.flags, r.mnt = []string{"-v", s.dir + "/host:/v"}, s.dir+"/host/dir"
			return []string{s.dir + "/host"}
		}},
		{"missing volume source", 1, func(s *site, r *request) []string {
			r.flags = []string{"-v", s.dir + "/missing:/v"}
			return []string{s.dir + "/missing"}
		}},
		{"spec without a path", 2, func(s *site, r *request) []string { r.flags = []string{"-v", "name:"}; return []string{"name:"} }},
		{"spec with a relative path", 2, func(s *site, r *request) []string { r.flags = []string{"-v", "name:dir"}; return []string{"name:dir"} }},
		{"spec with a bad mode", 2, func(s *site, r *request) []string {
			r.flags = []string{"-v", "name:/dir:rx"}
			return []string{"name:/dir:rx"}
		}},
		{"spec with a bad name", 2, func(s *site, r *request) []string { r.flags = []string{"-v", "a b:/dir"}; return []string{"a b"} }},
		{"spec for the root", 2, func(s *site, r *request) []string { r.flags = []string{"-v", "name:/"}; return []string{"name:/"} }},
		{"two volumes at one path", 2, func(s *site, r *request) []string {
			r.flags = []string{"-v", "one:/dir", "-v", "two:/dir/../dir"}
			return []string{"/dir"}
		}},
		{"unknown option", 2, func(s *site, r *request) []string {
			r.flags = []string{"-o", "no_such_option"}
			return []string{"no_such_option"}
		}},
		{"bad io", 2, func(s *site, r *request) []string { r.flags = []string{"--io", "fast"}; return []string{"fast"} }},
		{"bad volume-io", 2, func(s *site, r *request) []string { r.flags = []string{"--volume-io", "fast"}; return []string{"fast"} }},
		{"bad name", 2, func(s *site, r *request) []string {
			r.flags = []string{"--name", "../../x"}
			return []string{"../../x"}
		}},
		{"upper and read-only", 2, func(s *site, r *request) []string { r.flags = []string{"-r"}; return nil }},
	}
	for _, c := range cases {
		aside(t, c.what, func(t *testing.T) {
			s := newSite(t, 1)
			write(t, s.lowers[0]+"/file", "x")
			mkdir(t, s.lowers[0]+"/dir")
			mkdir(t, s.upper+"/dir")
			mkdir(t, s.dir+"/host/dir")
			write(t, s.dir+"/a-file", "x")
			must(t, os.Symlink(s.lowers[0], s.dir+"/link-to-lower"))
			mkdir(t, s.dir+"/tmpfs")
			mustRun(t, "mount", "-t", "tmpfs", "tmpfs", s.dir+"/tmpfs")
			mkdir(t, s.dir+"/tmpfs/work")
			s.must("ls", "-a")
			r := request{upper: s.upper, work: s.work, mnt: s.mnt, lowers: s.lowers}
			words := c.alter(s, &r)
			state := func() map[string]string {
				tree := describe(t, s.dir, nil)
				for path := range tree {
					if strings.HasPrefix(path, "root/") && !strings.HasPrefix(path, "root/volumes") {
						delete(tree, path) // the catalogue's and the log's files change by being opened
					}
				}
				return tree
			}
			before := state()
			args := append([]string{"mount", "-u", r.upper, "--work", r.work}, r.flags...)
			args = append(append(args, r.lowers...), r.mnt)
			s.refused(c.code, words, args...)
			if d := differences(before, state()); d != "" {
				t.Errorf("the refusal left traces:\n%s", d)
			}
			if out := s.must("ls", "-aq"); out != "" {
				t.Errorf("a record is left: %q", out)
			}
			if p := processesOf(s.dir); len(p) > 0 {
				t.Errorf("processes are left: %v", p)
			}
		})
	}
}

// TestMountpointMayBeALayer: roots are opened first, so a lower can be covered by its union.
func TestMountpointMayBeALayer(t *testing.T) {
	s := small(t)
	s.must("mount", "--name", s.name, "-u", s.upper, "--work", s.work, s.lowers[0], s.lowers[0])
	wantContent(t, s.lowers[0]+"/file", "lower\n")
	write(t, s.lowers[0]+"/new", "upper\n")
	wantContent(t, s.upper+"/new", "upper\n")
	s.must("umount", s.name)
	wantListing(t, s.lowers[0], "file")
}

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
