package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// helperLinks are what make install links into /sbin.
var helperLinks = []string{"mount.fuse.unionmount", "mount.unionmount", "umount.fuse.unionmount", "umount.unionmount"}

// installed makes what make install makes in /sbin, and puts it back as it was.
func installed(t *testing.T) {
	t.Helper()
	for _, name := range helperLinks {
		path := "/sbin/" + name
		saved := path + ".saved-by-test"
		if err := os.Rename(path, saved); err == nil {
			t.Cleanup(func() { os.Rename(saved, path) })
		}
		must(t, os.Symlink(suite.binary, path))
		t.Cleanup(func() { os.Remove(path) })
	}
	t.Setenv("UNIONMOUNT_ROOT", suite.dir+"/helper-root")
}

// TestMakeInstall: what make install puts below DESTDIR is the binary and the links that the tests make by hand, it
// mounts where it is at its place, and make uninstall takes all of it away.
func TestMakeInstall(t *testing.T) {
	need(t, "make", "unshare")
	s := small(t)
	s.guard()
	dest := s.dir + "/dest"
	mustRun(t, "make", "-C", suite.module, "install", "DESTDIR="+dest, "PREFIX=/usr/local")
	files := func() []string {
		found := strings.Fields(mustRun(t, "find", dest, "!", "-type", "d", "-printf", "/%P\n"))
		slices.Sort(found)
		return found
	}
	want := []string{"/usr/local/bin/unionmount"}
	for _, name := range helperLinks {
		want = append(want, "/sbin/"+name)
		if to, err := os.Readlink(dest + "/sbin/" + name); to != "/usr/local/bin/unionmount" {
			t.Errorf("%s leads to %q, %v", name, to, err)
		}
	}
	slices.Sort(want)
	if got := files(); !slices.Equal(got, want) {
		t.Errorf("installed are %q, want %q", got, want)
	}
	if mode := lstat(t, dest+"/usr/local/bin/unionmount").Mode & 0o7777; mode != 0o755 {
		t.Errorf("mode of the binary: %o", mode)
	}
	sbin, err := filepath.EvalSymlinks("/sbin")
	must(t, err)
	// In a mount namespace of its own it lies where DESTDIR= would put it.
	out := mustRun(t, "unshare", "-m", "sh", "-ec", `
export UNIONMOUNT_ROOT="$1/root"
mount --bind "$1/dest/usr/local/bin" /usr/local/bin; mount --bind "$1/dest/sbin" "$2"
mount -t fuse.unionmount unionmount "$1/mnt" -o "$3"
cat "$1/mnt/file"; echo more >> "$1/mnt/file"
umount "$1/mnt"; unionmount mount --name bound -v vol:/vol "$1/lower0" "$1/mnt"
unionmount inspect bound | grep -c '"IO": *"bind"'
umount "$1/mnt"; ! unionmount ls | grep bound`, "sh", s.dir, sbin, s.options())
	if out != "lower\nbound\n1\n" {
		t.Errorf("the installed binary printed %q", out)
	}
	wantContent(t, s.upper+"/file", "lower\nmore\n")
	mustRun(t, "make", "-C", suite.module, "uninstall", "DESTDIR="+dest, "PREFIX=/usr/local")
	if left := files(); len(left) > 0 {
		t.Errorf("after make uninstall: %q", left)
	}
}

// TestAutoChooses the volumes' way, and the contract by that: bind as root where umount(8) has both helpers, for
// with one of them missing it would leave a bind behind.
func TestAutoChooses(t *testing.T) {
	installed(t)
	s := small(t)
	want := func(when, way, io string, flags ...string) {
		t.Helper()
		s.must(append(append([]string{"mount", "--name", "m"}, flags...), s.lowers[0], s.mnt)...)
		got := s.inspect()
		for _, v := range got.Volumes {
			if v.IO != way {
				t.Errorf("%s: the volume goes by %s, want %s", when, v.IO, way)
			}
		}
		if got.IO != io {
			t.Errorf("%s: io %s, want %s", when, got.IO, io)
		}
		s.must("rm", "-f", "m")
	}
	want("no volume", "", "cached")
	want("helpers installed", "bind", "cached", "-v", "vol:/vol")
	want("asked to route", "fuse", "open", "-v", "vol:/vol", "--volume-io", "fuse")
	want("asked for open", "bind", "open", "-v", "vol:/vol", "--io", "open")
	for _, name := range []string{"umount.fuse.unionmount", "umount.unionmount"} {
		must(t, os.Rename("/sbin/"+name, s.dir+"/"+name))
		want("without "+name, "fuse", "open", "-v", "vol:/vol")
		want("asked to bind without "+name, "bind", "cached", "-v", "vol:/vol", "--volume-io", "bind")
		want("no volume, without "+name, "", "cached")
		if out := s.must("info"); !strings.Contains(out, "make install") {
			t.Errorf("without %s info names no remedy: %s", name, out)
		}
		must(t, os.Rename(s.dir+"/"+name, "/sbin/"+name))
	}
	if r := s.as("mount.unionmount", "none", s.mnt, "-o", s.options("volume=vol:/vol")); r.code != 0 {
		t.Fatal(r)
	}
	if got := decode(t, s.must("inspect", s.mnt)); got[0].IO != "open" || got[0].Volumes[0].IO != "fuse" {
		t.Errorf("the helper form: %+v", got[0])
	}
	s.must("umount", s.mnt)
	s.refused(5, []string{"--io open or --volume-io bind"}, "mount", "--io", "cached", "--volume-io", "fuse", "-v", "vol:/vol", s.lowers[0], s.mnt)
}

// TestAutoChoosesForAPlainUser: he can't bind, whatever is installed.
func TestAutoChoosesForAPlainUser(t *testing.T) {
	need(t, "fusermount3")
	installed(t)
	s := userSite(t)
	mount := []string{"mount", "--name", "m", "-v", "vol:/vol"}
	s.userMust(suite.binary, append(mount, s.lowers[0], s.mnt)...)
	if got := decode(t, s.userMust(suite.binary, "inspect", "m"))[0]; got.IO != "open" || got.Volumes[0].IO != "fuse" {
		t.Errorf("a plain user's mount: %+v", got)
	}
	s.userMust(suite.binary, "rm", "-f", "m")
	for remedy, flags := range map[string][]string{"--volume-io fuse": {"--volume-io", "bind"}, "--io open": {"--io", "cached", "-r"}} {
		r := s.asPlainUser(suite.binary, append(append(mount, flags...), s.lowers[0], s.mnt)...)
		checkRefusal(t, r, 5, []string{remedy}, flags)
	}
}
