package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRemove(t *testing.T) {
	s := small(t)
	s.must("mount", "--name", "own", "-v", "kept:/kept", s.lowers[0], s.mnt)
	upper := decode(t, s.must("inspect", "own"))[0].Upper
	if !strings.HasPrefix(upper, s.root+"/") {
		t.Fatalf("the default upper %s is not under --root", upper)
	}
	write(t, s.in("new"), "upper\n")
	s.refused(4, []string{"own"}, "rm", "own")
	s.must("rm", "-f", "-v", "own")
	wantAbsent(t, upper)
	if m := mountsBelow(s.mnt); len(m) != 0 {
		t.Errorf("rm -f left the mount: %v", m)
	}
	s.refused(3, []string{"own"}, "inspect", "own")
	if left, _ := filepath.Glob(s.root + "/volumes/*/_data"); len(left) != 1 || left[0] != s.root+"/volumes/kept/_data" {
		t.Errorf("volumes after rm -v: %v, want only kept", left)
	}
	s.mount()
	write(t, s.in("new"), "upper\n")
	s.umount()
	s.must("rm", s.name)
	wantContent(t, s.upper+"/new", "upper\n") // an upper given by --upper stays
}

func TestRmAtUnmount(t *testing.T) {
	s := small(t)
	s.must("mount", "--name", "brief", "--rm", "-v", "kept:/kept", s.lowers[0], s.mnt)
	got := decode(t, s.must("inspect", "brief"))[0]
	write(t, s.in("new"), "x")
	mustRun(t, "umount", "-R", s.mnt)
	s.gone(got.Pid)
	eventually(t, "upper "+got.Upper+" is dropped", func() bool {
		_, err := os.Lstat(got.Upper)
		return os.IsNotExist(err)
	})
	wantListing(t, s.root+"/volumes/kept/_data")
}

func TestDiffListsChanges(t *testing.T) {
	s := newSite(t, 1)
	for _, f := range []string{"keep", "change", "gone", "dir/a", "dir/b", "replaced/x"} {
		write(t, s.lowers[0]+"/"+f, f)
	}
	s.mount()
	appendTo(t, s.in("change"), "d")
	must(t, os.Remove(s.in("gone")))
	must(t, os.Remove(s.in("dir/a")))
	write(t, s.in("dir/new"), "n")
	must(t, os.RemoveAll(s.in("replaced")))
	write(t, s.in("replaced/y"), "y")
	want := []string{"C /change", "C /dir", "D /dir/a", "A /dir/new", "D /gone", "C /replaced", "D /replaced/x", "A /replaced/y"}
	check := func(when string) {
		got := strings.Split(strings.TrimSpace(s.must("diff", s.name)), "\n")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("diff %s: %q, want %q", when, got, want)
		}
	}
	check("while mounted")
	s.umount()
	check("after umount")
}
