package main_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOptionsTakeEffect: what each option of -o does, by the entry of mount(8); that they are taken is TestHelperOptions.
func TestOptionsTakeEffect(t *testing.T) {
	need(t, "setfacl")
	with := func(option string, check func(t *testing.T, s *site)) {
		aside(t, option, func(t *testing.T) {
			s := small(t)
			write(t, s.lowers[0]+"/d/f", "x")
			mkdir(t, s.lowers[0]+"/d/sub")
			s.guard()
			if r := s.as("mount.unionmount", "none", s.mnt, "-o", s.options(option)); r.code != 0 {
				t.Fatal(r)
			}
			check(t, s)
		})
	}
	mark := func(path, name string) error {
		_, err := unix.Lgetxattr(path, name, nil)
		return err
	}
	moved := func(redirected bool) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			must(t, os.Rename(s.in("d"), s.in("e")))
			wantListing(t, s.in("e"), "f", "sub")
			if got := mark(s.upper+"/e", "trusted.overlay.redirect") == nil; got != redirected {
				t.Errorf("renamed by a redirect: %v", got)
			}
		}
	}
	with("redirect_dir=on", moved(true))
	with("redirect_dir=off", moved(false))
	with("redirect_dir=nofollow", moved(false))
	with("rw", func(t *testing.T, s *site) {
		must(t, os.MkdirAll(s.in("new/sub"), 0o755))
		mustRun(t, "setfacl", "-m", "u:1:r", s.in("d/f"))
		if n := lstat(t, s.in("new")).Nlink; n != 3 {
			t.Errorf("a directory has nlink %d, want 3", n)
		}
	})
	with("static_nlink", func(t *testing.T, s *site) {
		must(t, os.MkdirAll(s.in("new/sub"), 0o755))
		for _, d := range []string{"new", "d", "."} {
			if n := lstat(t, s.in(d)).Nlink; n != 1 {
				t.Errorf("%s has nlink %d, want 1", d, n)
			}
		}
	})
	with("noacl", func(t *testing.T, s *site) {
		if r := run(t, "setfacl", "-m", "u:1:r", s.in("d/f")); r.code == 0 || !strings.Contains(r.stderr, "not supported") {
			t.Errorf("setfacl: %s", r)
		}
	})
	with("userxattr", func(t *testing.T, s *site) {
		must(t, os.RemoveAll(s.in("d")))
		must(t, os.Mkdir(s.in("d"), 0o755))
		must(t, mark(s.upper+"/d", "user.overlay.opaque"))
		wantErrno(t, "a trusted mark", mark(s.upper+"/d", "trusted.overlay.opaque"), unix.ENODATA)
	})
	asked := func(again bool) func(t *testing.T, s *site) {
		return func(t *testing.T, s *site) {
			wantAbsent(t, s.in("d/new"))
			write(t, s.lowers[0]+"/d/new", "by another hand") // which nobody may do; only so it shows
			s.forget(s.lowers[0])
			time.Sleep(150 * time.Millisecond)
			if _, err := os.Lstat(s.in("d/new")); (err == nil) != again {
				t.Errorf("a name that was not there is asked for again: %v", err == nil)
			}
		}
	}
	with("timeout=0.05", asked(true))
	with("timeout=0.00001", asked(true))
	with("timeout=0", asked(true))
	with("timeout=3600", asked(false))
	with("fsname=default", asked(false))
	with("noexec", func(t *testing.T, s *site) {
		write(t, s.in("script"), "#!/bin/sh\n")
		must(t, os.Chmod(s.in("script"), 0o755))
		if r := run(t, s.in("script")); r.err == nil || !strings.Contains(r.err.Error(), "permission denied") {
			t.Errorf("exec: %s", r)
		}
	})
	with("nodev", func(t *testing.T, s *site) {
		must(t, unix.Mknod(s.in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		wantErrno(t, "open of a device", openClose(s.in("null"), unix.O_RDWR), unix.EACCES)
	})
}

// TestSameAtOnce: of several commands that want one name, one upper or one start at
// the same time, one gets it and the others are told who has it.
func TestSameAtOnce(t *testing.T) {
	s := small(t)
	atOnce := func(what string, args func(i int) []string) {
		t.Helper()
		results := make([]result, 6)
		var all sync.WaitGroup
		for i := range results {
			cmd := command(t, suite.binary, append([]string{"--root", s.root}, args(i)...)...)
			all.Go(func() { results[i] = finish(cmd) })
		}
		all.Wait()
		var codes []int
		for _, r := range results {
			codes = append(codes, r.code)
		}
		slices.Sort(codes)
		if !slices.Equal(codes, []int{0, 4, 4, 4, 4, 4}) {
			t.Errorf("%s: %v", what, results)
		}
	}
	at := func(i int) string {
		d := fmt.Sprintf("%s/at%d", s.dir, i)
		mkdir(t, d)
		return d
	}
	atOnce("one upper", func(i int) []string { return []string{"mount", "-u", s.upper, s.lowers[0], at(i)} })
	s.must("umount", "--all")
	s.must("prune", "-f")
	atOnce("one name", func(i int) []string { return []string{"mount", "--name", "same", s.lowers[0], at(i)} })
	s.must("umount", "same")
	atOnce("one start", func(i int) []string { return []string{"start", "same"} })
	if out := s.must("ls", "-a", "--format", "{{.Name}} {{.State}}"); out != "same running\n" {
		t.Errorf("ls -a: %q", out)
	}
}

// TestNameBeforePath: a bare word is a mount's name if one has it, else a path; a word with a slash is a path.
func TestNameBeforePath(t *testing.T) {
	s := small(t)
	mkdir(t, s.dir+"/word")
	s.must("mount", "--name", "word", s.lowers[0], s.mnt)
	s.must("mount", "--name", "other", s.lowers[0], s.dir+"/word")
	in := func(what string) string {
		return mustShell(t, s.dir, suite.binary+" --root root inspect --format {{.Name}} "+what)
	}
	for what, want := range map[string]string{"word": "word\n", "./word": "other\n", s.dir + "/word": "other\n", "mnt": "word\n"} {
		if out := in(what); out != want {
			t.Errorf("inspect %s: %q, want %q", what, out, want)
		}
	}
}

// TestVolumeMovesWithoutRedirects: without redirects a directory that holds a volume's target, where a lower has that
// directory too, could not be renamed (EBUSY): its copy waited for a name that the volume hides.
func TestVolumeMovesWithoutRedirects(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "mkdir -p d/vol; echo hidden > d/vol/hidden; echo file > d/file")
	host := s.dir + "/host"
	mkdir(t, host)
	write(t, host+"/inside", "volume\n")
	s.mount("-o", "redirect_dir=off", "--volume-io", "fuse", "-v", host+":/d/vol")
	must(t, os.Rename(s.in("d"), s.in("e")))
	wantContent(t, s.in("e/vol/inside"), "volume\n")
	wantContent(t, s.in("e/file"), "file\n")
	if names := listing(t, s.in("e/vol")); len(names) != 1 {
		t.Errorf("the volume shows %v", names)
	}
}
