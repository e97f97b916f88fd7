package main_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The plain user is nobody: fusermount3 wants a name for the uid, and every Debian has this one.
const (
	plainUser  = 65534
	plainGroup = 65534
)

// fuseForAll opens /dev/fuse to plain users, as distributions do, until the test ends. Tests that do so take turns.
func fuseForAll(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(os.TempDir()+"/unionmount-test-dev-fuse.lock", os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	t.Cleanup(func() { lock.Close() })
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	mode := lstat(t, "/dev/fuse").Mode & 0o7777
	must(t, unix.Chmod("/dev/fuse", 0o666))
	t.Cleanup(func() { unix.Chmod("/dev/fuse", mode) })
}

// userSite is a site whose layers are root's, and whose rest is a plain user's.
func userSite(t *testing.T) *site {
	t.Helper()
	fuseForAll(t)
	s := newSite(t, 2)
	s.atimes = false // the user may not ask for O_NOATIME in what he doesn't own
	base(t, s.lowers[1])
	write(t, s.lowers[0]+"/owned/mine", "mine\n")
	must(t, os.Chown(s.lowers[0]+"/owned", plainUser, plainGroup))
	must(t, os.Chown(s.lowers[0]+"/owned/mine", plainUser, plainGroup))
	must(t, unix.Chmod(s.lowers[0]+"/owned/mine", 0o444))
	write(t, s.lowers[0]+"/secret", "secret\n")
	must(t, unix.Chmod(s.lowers[0]+"/secret", 0o600))
	must(t, unix.Chmod(s.lowers[1], 0o777))
	must(t, unix.Chmod(s.lowers[0], 0o777)) // the union's root: he may make names in it
	for _, d := range []string{s.dir, s.root, s.upper, s.work, s.mnt} {
		must(t, os.Chown(d, plainUser, plainGroup))
	}
	return s
}

// asPlainUser runs the binary as the plain user.
func (s *site) asPlainUser(name string, args ...string) result {
	s.t.Helper()
	cmd := command(s.t, name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_DATA_HOME=" + s.dir, "XDG_RUNTIME_DIR=" + s.dir, "UNIONMOUNT_ROOT=" + s.root, "GORACE=" + os.Getenv("GORACE")}
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainGroup}}
	return finish(cmd)
}

func (s *site) userMust(name string, args ...string) string {
	s.t.Helper()
	r := s.asPlainUser(name, args...)
	if r.code != 0 || r.err != nil {
		s.t.Fatalf("as a plain user: %s %s: %s", name, strings.Join(args, " "), r)
	}
	return r.stdout
}

// TestAsRoot: by mount(2), and every user may enter.
func TestAsRoot(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/file", "x")
		s.mount("--io", io)
		source, kind, options := mountLine(t, s.mnt)
		if source != "unionmount" || kind != "fuse.unionmount" || !strings.Contains(options, "allow_other") || !strings.Contains(options, "default_permissions") {
			t.Errorf("/proc/mounts: %s %s %s", source, kind, options)
		}
		asUser(t, plainUser, plainGroup, nil, func() {
			wantContent(t, s.in("file"), "x")
			wantErrno(t, "a plain user's write", os.WriteFile(s.in("file"), nil, 0o644), unix.EACCES)
		})
	})
}

// userScript works in a union as one who owns its root but not its files. It prints what it sees.
const userScript = `
set -e
cd "$1"
cat file-kept; cat owned/mine
test ! -e gone-already
echo new > new; mkdir dir; echo in > dir/in
rm -f owned/mine; echo again > owned/mine; echo more >> owned/mine
chmod 640 owned/mine; ln owned/mine hard; ln -s new link
mv dir moved; mv owned kept2; mkdir owned
rm -rf kept2/mine
mkfifo fifo
touch -d @1000000000 new
ls -A
`

// TestAsPlainUser: through fusermount3, with a real uid that owns nothing of the layers.
func TestAsPlainUser(t *testing.T) {
	need(t, "fusermount3")
	s := userSite(t)
	s.guard()
	mountArgs := []string{"mount", "--name", "m", "-u", s.upper, "--work", s.work, "-v", "data:/vol", s.lowers[0], s.lowers[1], s.mnt}
	s.userMust(suite.binary, mountArgs...)
	_, kind, options := mountLine(t, s.mnt)
	if kind != "fuse.unionmount" || !strings.Contains(options, "user_id=65534") || !strings.Contains(options, "nosuid") || strings.Contains(options, "allow_other") {
		t.Errorf("/proc/mounts: %s %s", kind, options)
	}
	got := decode(t, s.userMust(suite.binary, "inspect", "m"))[0]
	if got.IO != "open" || got.Volumes[0].IO != "fuse" {
		t.Errorf("chosen: %s, volumes %s; want open, fuse", got.IO, got.Volumes[0].IO)
	}
	if st := ownerOf(got.Pid); st != plainUser {
		t.Errorf("the daemon runs as %d", st)
	}
	check := func(when string) {
		t.Helper()
		asUser(t, plainUser, plainGroup, nil, func() {
			wantContent(t, s.in("new"), "new\n")
			wantContent(t, s.in("hard"), "again\nmore\n")
			wantContent(t, s.in("moved/in"), "in\n")
			wantListing(t, s.in("kept2"))
			wantListing(t, s.in("owned"))
			if st := lstat(t, s.in("new")); st.Mtim.Sec != 1_000_000_000 || st.Uid != plainUser {
				t.Errorf("%s: mtime %d owner %d", when, st.Mtim.Sec, st.Uid)
			}
			wantErrno(t, when+": a file that he may not read", openClose(s.in("secret"), unix.O_RDONLY), unix.EACCES)
			wantErrno(t, when+": a file that he may not write", openClose(s.in("kept/both"), unix.O_WRONLY), unix.EACCES)
			wantContent(t, s.in("vol/f"), "volume\n")
		})
	}
	asUser(t, plainUser, plainGroup, nil, func() { write(t, s.in("vol/f"), "volume\n") })
	s.userMust("sh", "-c", userScript, "sh", s.mnt)
	check("after")
	wantContent(t, s.data("data", "f"), "volume\n")
	s.userMust(suite.binary, "umount", "m")
	s.gone(got.Pid)
	s.userMust(suite.binary, "start", "m")
	check("after a remount")
	pid := decode(t, s.userMust(suite.binary, "inspect", "m"))[0].Pid
	s.userMust("fusermount3", "-u", s.mnt)
	s.gone(pid)
	r := s.asPlainUser(suite.binary, "mount", "--io", "cached", "-u", s.upper, "--work", s.work, s.lowers[0], s.mnt)
	checkRefusal(t, r, 5, []string{"cached"}, []string{"mount --io cached"})
	for path, attrs := range map[string]map[string]string{"upper": xattrs(s.upper), "owned": xattrs(s.upper + "/owned")} {
		for name := range attrs {
			if strings.HasPrefix(name, "trusted.") {
				t.Errorf("%s has %s", path, name)
			}
		}
	}
}

// ownerOf is the owner of a process.
func ownerOf(pid int) uint32 {
	var st unix.Stat_t
	unix.Stat("/proc/"+strconv.Itoa(pid), &st)
	return st.Uid
}

// TestInUserNamespace: as root of a user namespace, by mount(2) and without fusermount3.
func TestInUserNamespace(t *testing.T) {
	need(t, "unshare")
	s := userSite(t)
	s.guard()
	if r := s.asPlainUser("unshare", "--user", "--map-root-user", "--mount", "true"); r.code != 0 {
		absent(t, "user namespaces are not to be had: "+r.stderr)
	}
	script := `
set -e
bin=$1 root=$2 upper=$3 work=$4 top=$5 bottom=$6 mnt=$7
export PATH=/no-fusermount:$PATH
union() { "$bin" --root "$root" "$@"; }
union mount --name m -u "$upper" --work "$work" -v data:/vol "$top" "$bottom" "$mnt" >/dev/null
echo volume > "$mnt/vol/f"
sh -c "$8" sh "$mnt" >/dev/null
union umount m; union start m >/dev/null
cat "$mnt/new" "$mnt/hard" "$mnt/moved/in" "$mnt/vol/f"
stat -c '%u %Y' "$mnt/new"
cat "$mnt/secret" 2>/dev/null && echo 'read a secret'
grep " $mnt fuse" /proc/mounts | cut -d' ' -f3
exec 3> "$mnt/held"; echo not held back >&3; cat "$upper/held"; exec 3>&-
umount -R "$mnt"
`
	r := s.asPlainUser("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh",
		suite.binary, s.root, s.upper, s.work, s.lowers[0], s.lowers[1], s.mnt, userScript)
	want := "new\nagain\nmore\nin\nvolume\n0 1000000000\nfuse.unionmount\nnot held back\n"
	if r.code != 0 || r.stdout != want {
		t.Errorf("in a user namespace: want\n%s%s", want, r)
	}
	wantContent(t, s.data("data", "f"), "volume\n")
}

// TestSubmountsOfALower: a mount below a lower is no part of the layer. As root
// what lies beneath shows, through the clone of the lower's mount; to a plain user,
// who can't have one, the mountpoint is an empty directory. What was mounted showed.
func TestSubmountsOfALower(t *testing.T) {
	need(t, "fusermount3")
	s := userSite(t)
	for _, d := range []string{"sub", "mnt1", "mnt2"} {
		at := s.lowers[0] + "/" + d
		write(t, at+"/beneath", "beneath\n")
		must(t, os.Chown(at, plainUser, plainGroup))
		mustRun(t, "mount", "-t", "tmpfs", "-o", "uid=65534,gid=65534,mode=755", "t", at)
		write(t, at+"/mounted/file", "mounted\n")
		must(t, unix.Setxattr(at, "trusted.overlay.opaque", []byte("y"), 0))
	}
	write(t, s.lowers[1]+"/sub/below", "below\n")
	s.must("mount", "--name", "root", "-o", "ro", s.lowers[0], s.lowers[1], s.mnt)
	wantListing(t, s.in("sub"), "below", "beneath")
	s.must("umount", "root")

	mountArgs := []string{"mount", "--name", "m", "-u", s.upper, "--work", s.work, s.lowers[0], s.lowers[1], s.mnt}
	s.must("rm", "root")
	mustRun(t, "chown", "-R", "65534:65534", s.root)
	s.userMust(suite.binary, mountArgs...)
	asUser(t, plainUser, plainGroup, nil, func() {
		wantListing(t, s.in("sub"), "below")
		wantAbsent(t, s.in("sub/mounted/file"))
		if st := lstat(t, s.in("sub")); st.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("mode %o", st.Mode)
		}
		write(t, s.in("sub/new"), "new\n")
		must(t, os.Remove(s.in("mnt1")))
		must(t, os.Rename(s.in("mnt2"), s.in("away")))
		write(t, s.in("away/in"), "in\n")
	})
	pid := decode(t, s.userMust(suite.binary, "inspect", "m"))[0].Pid
	s.userMust(suite.binary, "umount", "m")
	s.gone(pid)
	s.userMust(suite.binary, "start", "m")
	asUser(t, plainUser, plainGroup, nil, func() {
		wantListing(t, s.in("sub"), "below", "new")
		wantAbsent(t, s.in("mnt1"))
		wantAbsent(t, s.in("mnt2"))
		wantListing(t, s.in("away"), "in")
	})
	for _, d := range []string{"sub", "mnt1", "mnt2"} {
		wantContent(t, s.lowers[0]+"/"+d+"/mounted/file", "mounted\n")
	}
	s.userMust(suite.binary, "umount", "m")
	detachBelow(s.lowers[0])
}

// TestLinksOfSpecialFilesAsPlainUser: symlinks and fifos can't hold user.* marks,
// so their links break at copy-up, but what is done by a name shows at that name
// and at all that were known then. The copy took one of the names, any of them, and
// what was moved or removed after its copy-up was lost to who had it open.
func TestLinksOfSpecialFilesAsPlainUser(t *testing.T) {
	need(t, "fusermount3")
	s := userSite(t)
	l := s.lowers[0]
	must(t, os.Symlink("somewhere", l+"/s1"))
	must(t, unix.Mkfifo(l+"/p1", 0o644))
	mkdir(t, l+"/d")
	for _, p := range []string{"s", "p"} {
		for _, to := range []string{"/" + p + "2", "/d/" + p + "3", "/" + p + "4"} {
			must(t, unix.Linkat(unix.AT_FDCWD, l+"/"+p+"1", unix.AT_FDCWD, l+to, 0))
		}
		must(t, os.Lchown(l+"/"+p+"1", plainUser, plainGroup))
	}
	must(t, os.Chown(l+"/d", plainUser, plainGroup))
	must(t, unix.Mkfifo(l+"/alone", 0o644))
	must(t, os.Chown(l+"/alone", plainUser, plainGroup))
	s.userMust(suite.binary, "mount", "--name", "m", "-u", s.upper, "--work", s.work, s.lowers[0], s.lowers[1], s.mnt)
	check := func(when string, names ...string) {
		t.Helper()
		for _, n := range names {
			if st := lstat(t, s.in(n)); n != "" && (st.Mtim.Sec != 1_000_000_000 || st.Mode&unix.S_IFMT == unix.S_IFIFO && st.Mode&0o777 != 0o600) {
				t.Errorf("%s: %s has mtime %d, mode %o", when, n, st.Mtim.Sec, st.Mode)
			}
		}
	}
	all := []string{"s1", "s2", "d/s3", "p1", "p2", "d/p3"}
	asUser(t, plainUser, plainGroup, nil, func() {
		for _, n := range all { // known from here on
			lstat(t, s.in(n))
		}
		must(t, unix.Chmod(s.in("p2"), 0o600))
		for _, p := range []string{"s2", "d/p3"} {
			old := []unix.Timespec{{Sec: 1_000_000_000}, {Sec: 1_000_000_000}}
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in(p), old, unix.AT_SYMLINK_NOFOLLOW))
		}
		check("after", all...)
		fd, err := unix.Open(s.in("alone"), unix.O_PATH|unix.O_NOFOLLOW, 0)
		must(t, err)
		defer unix.Close(fd)
		must(t, unix.Chmod(s.in("alone"), 0o600))
		must(t, os.Rename(s.in("alone"), s.in("moved")))
		lstat(t, s.in("moved"))
		must(t, os.Remove(s.in("moved")))
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode != unix.S_IFIFO|0o600 || st.Nlink != 0 {
			t.Errorf("a fifo copied up, moved and removed: mode %o, nlink %d, %v", st.Mode, st.Nlink, err)
		}
		must(t, os.Remove(s.in("s1")))
		must(t, os.Remove(s.in("p2")))
		wantAbsent(t, s.in("p2"))
		check("after unlink", "s2", "d/s3", "p1", "d/p3")
	})
	pid := decode(t, s.userMust(suite.binary, "inspect", "m"))[0].Pid
	s.userMust(suite.binary, "umount", "m")
	s.gone(pid)
	s.userMust(suite.binary, "start", "m")
	asUser(t, plainUser, plainGroup, nil, func() {
		check("after a remount", "s2", "d/s3", "p1", "d/p3")
		wantAbsent(t, s.in("s1"))
		wantAbsent(t, s.in("p2"))
	})
	s.userMust(suite.binary, "umount", "m")
}
