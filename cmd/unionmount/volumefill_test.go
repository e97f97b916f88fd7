package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// filling makes a lower with all kinds of objects at /data, an upper that changes
// some, and returns how the union shows /data.
func filling(t *testing.T) (s *site, want map[string]string) {
	t.Helper()
	s = newSite(t, 2)
	mustShell(t, s.lowers[1], `
mkdir -p data/dir data/gone; echo lower > data/file; echo hidden > data/gone/x; echo deleted > data/deleted
ln data/file data/hard; ln -s /nowhere data/link; mkfifo data/fifo; mknod data/dev c 1 3
truncate -s 4M data/sparse; echo tail >> data/sparse
setfattr -n user.note -v hello data/file; setfattr -n trusted.t -v root data/dir
cp /bin/true data/caps; setcap cap_net_raw+ep data/caps; chmod 4755 data/dir; chown 12:34 data/file data/dir
setfacl -m u:99:rwx -d -m u:98:rx data/dir; touch -d 2001-02-03 data/file
chown 1000:1001 data; chmod 2750 data; ln -s data elsewhere`)
	write(t, s.lowers[0]+"/data/top", "top\n")
	must(t, os.Chown(s.lowers[0]+"/data", 1000, 1001))
	must(t, os.Chmod(s.lowers[0]+"/data", 0o750|os.ModeSetgid))
	s.mount()
	mustShell(t, s.mnt, `echo more >> data/file; rm -r data/deleted data/gone; mkdir data/gone; mv data/dir data/renamed; echo upper > data/new`)
	want = describe(t, s.in("data"), nil)
	s.umount()
	s.must("rm", "m")
	return s, want
}

// TestFill: an empty volume gets what the union shows at its path, upper included:
// owners, modes, attributes, ACLs, links, holes, the directory's own owner and mode.
func TestFill(t *testing.T) {
	need(t, "setfacl", "setfattr", "setcap")
	eachWay(t, func(t *testing.T, way string) {
		s, want := filling(t)
		s.mountVolumes(way, "vol:/data")
		if d := differences(want, describe(t, s.data("vol", ""), nil)); d != "" {
			t.Errorf("the volume differs from the union:\n%s", d)
		}
		if st := lstat(t, s.data("vol", "sparse")); st.Blocks*512 > 1<<20 {
			t.Errorf("the hole was filled: %d blocks", st.Blocks)
		}
		if a, b := lstat(t, s.data("vol", "file")), lstat(t, s.data("vol", "hard")); a.Ino != b.Ino || a.Nlink != 2 {
			t.Errorf("the hard link was split: %d %d, %d links", a.Ino, b.Ino, a.Nlink)
		}
		wantListing(t, s.root+"/volumes/vol", "_data", "leases", "options.json", "used.json")
		// Once: what the union has later, or what was removed, doesn't come again.
		must(t, os.Remove(s.in("data/top")))
		s.remount()
		wantAbsent(t, s.in("data/top"))
		// Through a link of the union, into an anonymous volume, and not with nocopy.
		for target, full := range map[string]string{"/elsewhere": "file", "/data": "file"} {
			at := s.at("at" + strings.ReplaceAll(target, "/", "-"))
			s.must("mount", "--name", "x", "--volume-io", way, "-v", target, s.lowers[0], s.lowers[1], at)
			wantContent(t, at+target+"/"+full, "lower\n")
			s.must("umount", "x")
			s.must("rm", "-v", "x")
		}
		at := s.at("nocopy")
		s.must("mount", "--name", "n", "--volume-io", way, "-v", "empty:/data:nocopy", s.lowers[0], at)
		wantListing(t, at+"/data")
		s.must("umount", "n")
	})
}

// TestFillKeepsTheOwnerThatWasGiven: o=uid=,gid=,mode= outweighs the union's directory.
func TestFillKeepsTheOwnerThatWasGiven(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/data/f", "f\n")
	s.must("volume", "create", "own", "-o", "o=uid=77,mode=0711")
	s.mount("-v", "own:/data", "--mount", "dst=/ram,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=uid=78")
	wantContent(t, s.data("own", "f"), "f\n")
	if st := lstat(t, s.data("own", "")); st.Uid != 77 || st.Mode&0o7777 != 0o711 {
		t.Errorf("owner %d, mode %o", st.Uid, st.Mode&0o7777)
	}
	if st := lstat(t, s.in("ram")); st.Uid != 78 {
		t.Errorf("owner of the tmpfs: %d", st.Uid)
	}
}

// TestFillOnce: two mounts at the same time, each with its own content for one new
// volume: it has the one or the other, whole, and both mounts see it.
func TestFillOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 2)
		for i, l := range s.lowers {
			for _, n := range []string{"a", "b", "c"} {
				write(t, filepath.Join(l, "data", n), strings.Repeat(string(rune('0'+i)), 100))
			}
		}
		for round := range 5 {
			volume := "vol" + string(rune('0'+round))
			var wg sync.WaitGroup
			for i := range 2 {
				at := s.at(volume + s.lowers[i][len(s.lowers[i])-1:])
				wg.Go(func() {
					s.must("mount", "--volume-io", way, "-v", volume+":/data", s.lowers[i], at)
				})
			}
			wg.Wait()
			wantListing(t, s.data(volume, ""), "a", "b", "c")
			content, err := os.ReadFile(s.data(volume, "a"))
			must(t, err)
			first := string(content)
			for _, n := range []string{"a", "b", "c"} {
				for _, at := range []string{s.data(volume, ""), s.dir + "/" + volume + "0/data", s.dir + "/" + volume + "1/data"} {
					wantContent(t, filepath.Join(at, n), first)
				}
			}
			s.must("umount", "--all")
		}
	})
}

// TestFillBesideOthers: another mount has the empty volume attached: its directory
// must stay the one that both see.
func TestFillBesideOthers(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 2)
		write(t, s.lowers[0]+"/data/f", "f\n")
		s.must("mount", "--name", "first", "--volume-io", way, "-v", "vol:/x", s.lowers[1], s.mnt)
		second := s.at("second")
		s.must("mount", "--name", "second", "--volume-io", way, "-v", "vol:/data", s.lowers[0], second)
		wantContent(t, s.in("x/f"), "f\n")
		write(t, s.in("x/g"), "g\n")
		wantContent(t, second+"/data/g", "g\n")
		wantListing(t, s.data("vol", ""), "f", "g")
	})
}

// TestFillOfAnotherFilesystem: the root of a mounted volume stays, lost+found is nothing.
func TestFillOfAnotherFilesystem(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/data/d/f", "f\n")
	must(t, os.Chmod(s.lowers[0]+"/data", 0o700))
	mustShell(t, s.dir, "truncate -s 16M image; mkfs.ext4 -q image")
	loop := strings.TrimSpace(mustRun(t, "losetup", "--find", "--show", s.dir+"/image"))
	defer mustRun(t, "losetup", "-d", loop)
	s.must("volume", "create", "disk", "-o", "type=ext4", "-o", "device="+loop)
	s.mount("-v", "disk:/data")
	wantListing(t, s.in("data"), "d", "lost+found")
	wantContent(t, s.in("data/d/f"), "f\n")
	if st := lstat(t, s.in("data")); st.Mode&0o777 != 0o700 {
		t.Errorf("mode %o", st.Mode&0o777)
	}
	s.umount()
	if m := mountsBelow(s.root); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
}

// TestFillWhereNoRenameSparesAName: nfs and most FUSE servers know no RENAME_NOREPLACE,
// by which a fill moved its names up: it failed there.
func TestFillWhereNoRenameSparesAName(t *testing.T) {
	need(t, "mount.unionfs")
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "mkdir -p data/d/e; echo f > data/f; ln data/f data/hard; ln -s f data/link; echo g > data/d/e/g")
	branch := s.at("branch")
	s.must("volume", "create", "vol", "-o", "type=fuse.unionfs", "-o", "device="+branch+"=RW", "-o", "o=allow_other")
	s.mountVolumes("fuse", "vol:/data")
	wantListing(t, branch, "d", "f", "hard", "link")
	wantContent(t, s.in("data/d/e/g"), "g\n")
	wantContent(t, s.in("data/link"), "f\n")
	if a, b := lstat(t, branch+"/f"), lstat(t, branch+"/hard"); a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("the hard link was split: %d %d, %d links", a.Ino, b.Ino, a.Nlink)
	}
	s.umount()
}

// TestFillWithoutRoom: the mount is refused, nothing of it is left, and the volume that was there is empty.
func TestFillWithoutRoom(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "mkdir data; echo small > data/a; head -c 8388608 /dev/urandom > data/b")
	s.root = s.diskImage("disk", "12M", "mkfs.ext4", "-q", "-m", "0") + "/root"
	mkdir(t, s.root)
	s.must("volume", "create", "old")
	write(t, s.root+"/filler", strings.Repeat("x", 3<<20))
	s.guard()
	for _, volume := range []string{"old", "new"} {
		s.refused(1, []string{volume, "/data", "no space left"}, "mount", "--name", "m", "-u", s.upper, "--work", s.work, "-v", volume+":/data", s.lowers[0], s.mnt)
	}
	wantListing(t, s.data("old", ""))
	if out := s.must("volume", "ls", "-q") + s.must("ls", "-aq"); out != "old\n" {
		t.Errorf("left: %q", out)
	}
	if m := mountsBelow(s.mnt); len(m) > 0 {
		t.Errorf("mounted: %v", m)
	}
	must(t, os.Remove(s.root+"/filler"))
	s.mount("-v", "old:/data")
	wantContent(t, s.in("data/a"), "small\n")
}

// TestKilledFillLeavesItEmpty: the daemon is killed again and again in the middle of
// a fill: the volume is empty, and the next mount sweeps what is left of it and fills it.
func TestKilledFillLeavesItEmpty(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], `mkdir data; i=0; while [ $i -lt 1000 ]; do echo $i > data/f$i; i=$((i+1)); done`)
	s.guard()
	cuts := 0
	for _, at := range []int{1, 100, 400, 700, 950} {
		cmd := command(t, suite.binary, "--root", s.root, "mount", "-f", "--name", "m", "-u", s.upper, "--work", s.work, "-v", "vol:/data", s.lowers[0], s.mnt)
		earlier := stages(s)
		must(t, cmd.Start())
		eventually(t, fmt.Sprintf("%d files are copied", at), func() bool { return staged(t, s, earlier) >= at })
		must(t, unix.Kill(cmd.Process.Pid, unix.SIGKILL))
		cmd.Wait()
		entries, err := os.ReadDir(s.data("vol", ""))
		must(t, err)
		switch len(entries) {
		case 0:
			cuts++
		case 1000: // it was quicker than we
		default:
			t.Fatalf("killed at %d: %d of 1000 files", at, len(entries))
		}
		s.cli("umount", "m")
		s.cli("rm", "m")
		if len(entries) > 0 {
			s.must("volume", "rm", "vol")
		}
	}
	if cuts == 0 {
		t.Error("no kill came in the middle of a fill")
	}
	s.mount("-v", "vol:/data")
	if entries, err := os.ReadDir(s.in("data")); err != nil || len(entries) != 1000 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	wantListing(t, s.root+"/volumes/vol", "_data", "leases", "options.json", "used.json")
}

// stages are the directories of fills of vol, under way or killed.
func stages(s *site) []string {
	found, _ := filepath.Glob(s.root + "/volumes/vol/.fill-*") // the pattern is good
	return found
}

// staged is how many files the fill of vol has copied that is none of the earlier
// ones; all, if it has ended.
func staged(t *testing.T, s *site, earlier []string) int {
	t.Helper()
	for _, dir := range stages(s) {
		if !slices.Contains(earlier, dir) {
			names, _ := os.ReadDir(dir)
			return len(names)
		}
	}
	data, _ := os.ReadDir(s.data("vol", ""))
	return len(data)
}
