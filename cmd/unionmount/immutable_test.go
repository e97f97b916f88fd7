package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestImmutableLowers: what is immutable in a lower (chattr +i) can't be changed
// through the union either, as the kernel's overlay has it. It could.
func TestImmutableLowers(t *testing.T) {
	need(t, "chattr")
	attempts := []struct {
		what string
		do   func(b string) error
	}{
		{"append", func(b string) error { return addTo(b+"/file", "x") }},
		{"truncate", func(b string) error { return os.Truncate(b+"/file", 1) }},
		{"chmod", func(b string) error { return os.Chmod(b+"/file", 0o600) }},
		{"chown", func(b string) error { return os.Chown(b+"/file", 1, 1) }},
		{"attribute", func(b string) error { return unix.Setxattr(b+"/file", "user.k", []byte("v"), 0) }},
		{"link", func(b string) error { return os.Link(b+"/file", b+"/link") }},
		{"rename", func(b string) error { return os.Rename(b+"/file", b+"/moved") }},
		{"rename over", func(b string) error { return os.Rename(b+"/free", b+"/file") }},
		{"exchange", func(b string) error { return renameWith(unix.RENAME_EXCHANGE)(b+"/free", b+"/file") }},
		{"unlink", func(b string) error { return unix.Unlink(b + "/file") }},
		{"unlink of one of two names", func(b string) error { return unix.Unlink(b + "/hard1") }},
		{"create in a directory", func(b string) error { return openClose(b+"/dir/new", unix.O_CREAT|unix.O_WRONLY) }},
		{"unlink in a directory", func(b string) error { return unix.Unlink(b + "/dir/in") }},
		{"rmdir", func(b string) error { return unix.Rmdir(b + "/empty") }},
		{"rename over a directory", func(b string) error { return os.Rename(b+"/freedir", b+"/empty") }},
		{"rename of a directory", func(b string) error { return os.Rename(b+"/dir", b+"/dir2") }},
		{"read", func(b string) error { _, err := os.ReadFile(b + "/file"); return err }},
		{"change of another", func(b string) error { return addTo(b+"/free", "x") }},
		{"change in a directory", func(b string) error { return addTo(b+"/freedir/in", "x") }},
	}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		l := s.lowers[0]
		for _, f := range []string{"file", "free", "hard1", "dir/in", "freedir/in"} {
			write(t, l+"/"+f, "content")
		}
		must(t, os.Link(l+"/hard1", l+"/hard2"))
		mkdir(t, l+"/empty")
		for _, p := range []string{"file", "hard1", "dir", "empty"} {
			mustRun(t, "chattr", "+i", l+"/"+p)
		}
		t.Cleanup(func() {
			s.verifyLowers()
			s.forget(l)
			mustRun(t, "chattr", "-R", "-i", l)
		})
		try := func(b string) (answers []string) {
			for _, a := range attempts {
				answers = append(answers, fmt.Sprint(a.what, ": ", errnoName(errnoOf(a.do(b)))))
			}
			return answers
		}
		kernel := s.dir + "/kernel"
		mkdir(t, s.dir+"/up")
		mkdir(t, s.dir+"/wk")
		mkdir(t, kernel)
		mustRun(t, "mount", "-t", "overlay", "overlay", "-o", "index=on,redirect_dir=on,lowerdir="+l+",upperdir="+s.dir+"/up,workdir="+s.dir+"/wk", kernel)
		want := try(kernel)
		unmount(t, kernel)
		s.mount("--io", io)
		if got := try(s.mnt); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("ours:\n%s\n\nthe kernel's:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		wantContent(t, s.in("file"), "content")
		wantListing(t, s.mnt, "dir", "empty", "file", "free", "freedir", "hard1", "hard2")
	})
}
