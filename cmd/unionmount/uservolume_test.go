package main_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountAsUser mounts the site's lowers as the plain user, through fusermount3 and in no
// user namespace, with a volume at /data. What is written goes to an upper of its own.
func (s *site) mountAsUser(name, volume string) (mnt string) {
	s.t.Helper()
	mnt = s.at(name)
	must(s.t, os.Chown(mnt, plainUser, plainGroup))
	s.userMust(suite.binary, append([]string{"mount", "--name", name, "-v", volume + ":/data"}, append(s.lowers, mnt)...)...)
	return mnt
}

// TestFillAsPlainUser: an empty volume gets what he may read, as his own; what he may
// not have is left out, and the log names it. A directory that was closed to him refused the mount.
func TestFillAsPlainUser(t *testing.T) {
	need(t, "fusermount3", "setfattr")
	s := userSite(t)
	mustShell(t, s.lowers[1], `
mkdir -p data/dir/deep data/closed; echo lower > data/file; ln data/file data/hard; ln -s file data/link; mkfifo data/fifo
truncate -s 4M data/sparse; echo tail >> data/sparse; echo in > data/dir/deep/in; chmod 2755 data/dir; echo x > data/closed/x; chmod 700 data/closed
echo secret > data/secret; chmod 600 data/secret; mknod data/dev c 1 3; chmod 640 data/hard; chgrp 65534 data/file
setfattr -n user.note -v hello data/file; touch -d 2001-02-03 data/file; chmod 755 data`)
	write(t, s.lowers[0]+"/data/mine", "mine\n")
	must(t, os.Chown(s.lowers[0]+"/data/mine", plainUser, plainGroup))
	must(t, os.Chmod(s.lowers[0]+"/data", 0o755))
	s.guard()
	mnt := s.mountAsUser("one", "vol")
	asUser(t, plainUser, plainGroup, nil, func() {
		wantListing(t, mnt+"/data", "dir", "fifo", "file", "hard", "link", "mine", "sparse")
		wantContent(t, mnt+"/data/file", "lower\n")
		wantContent(t, mnt+"/data/dir/deep/in", "in\n")
		write(t, mnt+"/data/new", "new\n")
	})
	for name, mode := range map[string]uint32{"": unix.S_IFDIR | 0o755, "file": unix.S_IFREG | 0o640, "dir": unix.S_IFDIR | 0o755, "fifo": unix.S_IFIFO | 0o644, "mine": unix.S_IFREG | 0o644} {
		if st := lstat(t, s.data("vol", name)); st.Uid != plainUser || st.Mode&^0o2000 != mode {
			t.Errorf("%q is of %d, mode %o, want %o", name, st.Uid, st.Mode, mode)
		}
	}
	file, hard := lstat(t, s.data("vol", "file")), lstat(t, s.data("vol", "hard"))
	if file.Ino != hard.Ino || file.Mtim.Sec != 981158400 || string(xattrs(s.data("vol", "file"))["user.note"]) != "hello" {
		t.Errorf("file: inode %d, of its link %d, mtime %d, attributes %v", file.Ino, hard.Ino, file.Mtim.Sec, xattrs(s.data("vol", "file")))
	}
	if st := lstat(t, s.data("vol", "sparse")); st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d blocks", st.Blocks)
	}
	log, err := os.ReadFile(s.root + "/log/one.log")
	must(t, err)
	for _, name := range []string{"secret", "closed", "dev"} {
		if !strings.Contains(string(log), "target=/data path="+name+" ") {
			t.Errorf("the log doesn't name %s, which was left out:\n%s", name, log)
		}
	}
	if !strings.Contains(string(log), "path=file ") || !strings.Contains(string(log), "give it to 0:65534") {
		t.Errorf("the log doesn't say whose file he may not leave it:\n%s", log)
	}
	two := s.mountAsUser("two", "vol") // full: nothing comes again
	asUser(t, plainUser, plainGroup, nil, func() { wantContent(t, two+"/data/new", "new\n") })
	for _, name := range []string{"one", "two"} {
		s.userMust(suite.binary, "umount", name)
	}
}

// TestPlainUserVolumeLocks: between two mounts of a plain user's volume, which only he
// may enter, and the volume on the host: flock, POSIX and OFD locks hold, and each
// write is read at once.
func TestPlainUserVolumeLocks(t *testing.T) {
	need(t, "fusermount3")
	s := userSite(t)
	s.guard()
	one, two := s.mountAsUser("one", "vol"), s.mountAsUser("two", "vol")
	asUser(t, plainUser, plainGroup, nil, func() {
		write(t, one+"/data/f", strings.Repeat("x", 100))
		wantContent(t, two+"/data/f", strings.Repeat("x", 100))
		appendTo(t, two+"/data/f", "y")
		wantContent(t, one+"/data/f", strings.Repeat("x", 100)+"y")
	})
	his := func(kind, path string) *exec.Cmd {
		cmd := child(t, kind, path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainGroup}}
		return cmd
	}
	first, second, host := one+"/data/f", two+"/data/f", s.data("vol", "f")
	for _, kind := range []string{"flock", "posix", "ofd"} {
		for holder, others := range map[string][]string{first: {second, host}, host: {first}} {
			release := holdingBy(t, his(kind, holder))
			for _, side := range others {
				if r := finish(his(kind, side)); r.code == 0 {
					t.Errorf("%s: %s was locked while %s holds the lock", kind, side, holder)
				}
			}
			release()
			eventually(t, kind+" is free again", func() bool { return finish(his(kind, others[0])).code == 0 })
		}
	}
	for _, name := range []string{"one", "two"} {
		s.userMust(suite.binary, "umount", name)
	}
}
