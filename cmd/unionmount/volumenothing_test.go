package main_test

import (
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestAllVolumesOrNothing: the second of three can't attach, and nothing is left of the attempt.
func TestAllVolumesOrNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/file/x", "lower\n")
		s.guard()
		s.must("ls", "-a") // the root is laid out
		before := listing(t, s.dir)
		missing := s.dir + "/missing"
		s.refused(1, []string{missing}, "mount", "--name", "m", "--volume-io", way, "-u", s.upper, "--work", s.work,
			"-v", "first:/a", "-v", missing+":/b", "-v", "third:/c", s.lowers[0], s.mnt)
		if m := mountsBelow(s.dir); len(m) > 0 {
			t.Errorf("mounts are left: %v", m)
		}
		if out := s.must("ls", "-aq"); out != "" {
			t.Errorf("a record is left: %q", out)
		}
		for _, v := range []string{"first", "third"} {
			wantAbsent(t, s.root+"/volumes/"+v)
		}
		wantListing(t, s.upper)
		wantListing(t, s.work)
		wantListing(t, s.dir, before...)
		if p := processesOf(s.dir); len(p) > 0 {
			t.Errorf("processes are left: %v", p)
		}
		s.mountVolumes(way, "first:/a", "third:/c")
	})
}

// TestNestedVolumesOrNothing: what was made in a volume for another to be attached
// there goes again when a third can't be. It stayed.
func TestNestedVolumesOrNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.dir+"/outer/own/file", "own\n")
		write(t, s.dir+"/inner/file", "inner\n")
		write(t, s.dir+"/conf", "conf\n")
		specs := []string{s.dir + "/outer:/v", s.dir + "/inner:/v/own/a/b", s.dir + "/conf:/v/conf"}
		last := s.dir + "/conf:/v/own" // a file on a directory: no way attaches it
		if way == "bind" {
			last = s.unbindable() + ":/v/z"
		}
		before := describe(t, s.dir+"/outer", nil)
		args := []string{"mount", "--name", "m", "--volume-io", way, "-u", s.upper, "--work", s.work}
		for _, spec := range append(specs, last) {
			args = append(args, "-v", spec)
		}
		s.guard()
		s.refused(1, []string{"/v/"}, append(args, s.lowers[0], s.mnt)...)
		if d := differences(before, describe(t, s.dir+"/outer", nil)); d != "" {
			t.Errorf("the outer volume was changed:\n%s", d)
		}
		if m := mountsBelow(s.mnt); len(m) > 0 {
			t.Errorf("mounts are left: %v", m)
		}
		s.mountVolumes(way, specs...)
		wantContent(t, s.in("v/own/a/b/file"), "inner\n")
		wantContent(t, s.in("v/conf"), "conf\n")
		wantContent(t, s.in("v/own/file"), "own\n")
		s.umount()
	})
}

// unbindable is a directory that no bind mount can show.
func (s *site) unbindable() string {
	s.t.Helper()
	at := s.dir + "/unbindable"
	mkdir(s.t, at)
	mustRun(s.t, "mount", "-t", "tmpfs", "t", at)
	mustRun(s.t, "mount", "--make-unbindable", at)
	return at
}

// TestVolumeFailsLate: the second of three fails when the first is already attached, filled and, bound, in its place:
// its device holds no file system, its plugin refuses, or it can't lie there. Nothing of the attempt is left.
func TestVolumeFailsLate(t *testing.T) {
	need(t, "losetup", "mkfs.ext4")
	eachWay(t, func(t *testing.T, way string) {
		s, other := newSite(t, 1), newSite(t, 0)
		s.atimes = false // world reads the layers
		write(t, s.lowers[0]+"/a/file", "lower\n")
		loop := func(name, prepare string) string {
			mustShell(t, other.dir, "truncate -s 8M "+name+"; "+prepare)
			device := strings.TrimSpace(mustRun(t, "losetup", "--find", "--show", other.dir+"/"+name))
			t.Cleanup(func() { detachBelow(s.dir); run(t, "losetup", "-d", device) })
			return device
		}
		good, bad := loop("good", "mkfs.ext4 -q good"), loop("bad", "")
		plugin := "unionmount-test-late"
		other.serve(pluginSocket(t, plugin))
		s.must("volume", "create", "disk", "-o", "type=ext4", "-o", "device="+good)
		s.must("volume", "create", "empty-disk", "-o", "type=ext4", "-o", "device="+bad)
		other.must("volume", "create", "far", "-o", "type=ext4", "-o", "device="+bad)
		s.must("volume", "create", "far", "-d", plugin)
		write(t, s.dir+"/conf", "conf\n")
		unfit := s.dir + "/conf:/first/dir" // a file on a directory: no way attaches it
		if way == "bind" {
			unfit = s.unbindable() + ":/first/z"
		}
		mkdir(t, s.lowers[0]+"/first/dir")
		s.mountVolumes(way, "disk:/first", "other:/a") // lays out the root, the work and the disk's leases
		mkdir(t, s.in("first/dir"))
		s.umount()
		s.must("rm", "m")
		s.must("volume", "rm", "other")
		for second, words := range map[string][]string{
			"empty-disk:/second": {"volume empty-disk", bad, "not its type"},
			"far:/second":        {"volume far", bad},
			unfit:                {"/first/"},
		} {
			before := s.world()
			s.refused(1, words, "mount", "--name", "m", "--volume-io", way, "-u", s.upper, "--work", s.work,
				"-v", "disk:/first", "-v", "new:/a", "-v", second, "-v", "third:/third/deeper", s.lowers[0], s.mnt)
			if d := differences(before, s.world()); d != "" {
				t.Errorf("%s left traces:\n%s", second, d)
			}
			if used := s.inspectVolume("disk").UsedBy; len(used) > 0 {
				t.Errorf("%s: the first volume is still used by %v", second, used)
			}
		}
		s.mountVolumes(way, "disk:/first", "new:/a", "third:/third/deeper")
		wantContent(t, s.in("a/file"), "lower\n")
		s.umount()
	})
}

// lived are the files of a root that change by being opened, or that tell of an attempt; and as makes links in bin.
var lived = regexp.MustCompile(`^bin(/|$)|^root2?/(catalog/.*|events\.json|volumes\.list|volumes/\.locks/.*|volumes/[^/]*/used\.json)$`)

// world is all that a refused command must leave as it was: the tree of the test with the root, but for what is lived;
// records, volumes, mounts and processes.
func (s *site) world() map[string]string {
	s.t.Helper()
	records, volumes := s.must("ls", "-a", "--format", "json"), s.must("volume", "ls", "--format", "json")
	tree := describe(s.t, s.dir, nil)
	maps.DeleteFunc(tree, func(path, _ string) bool { return lived.MatchString(path) })
	tree["records"], tree["volumes"] = records, volumes
	tree["mounts"] = strings.Join(mountsBelow(s.dir), "\n")
	for _, pid := range processesOf(s.dir) {
		args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		tree["process "+strconv.Itoa(pid)] = string(args)
	}
	return tree
}
