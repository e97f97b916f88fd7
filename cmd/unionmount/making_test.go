package main_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMovedDirectoryCounts: the link counts of both parents after a directory moves from one to the other, also in the
// place of an empty one, and after two change places (pjdfstest rename/24).
func TestMovedDirectoryCounts(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		var counts [2][]uint64
		side := 0
		bothSides(t, io, func(base string) { do(os.Mkdir(base+"/lower", 0o755)) }, func(base string) {
			for _, p := range []string{"from", "to"} {
				do(os.Mkdir(base+"/"+p, 0o755))
			}
			do(os.Mkdir(base+"/to/empty", 0o755))
			for _, n := range []string{"one", "two", "three"} {
				do(os.MkdirAll(base+"/from/"+n+"/sub", 0o755))
			}
			count := func(paths ...string) {
				for _, p := range paths {
					counts[side] = append(counts[side], uint64(lstat(t, base+"/"+p).Nlink))
				}
			}
			count("from", "to")
			do(unix.Rename(base+"/from/one", base+"/to/one"))
			count("from", "to", "to/one")
			do(unix.Rename(base+"/from/two", base+"/to/empty"))
			count("from", "to", "to/empty")
			put(base+"/to/file", "x")
			do(unix.Renameat2(unix.AT_FDCWD, base+"/from/three", unix.AT_FDCWD, base+"/to/file", unix.RENAME_EXCHANGE))
			count("from", "to", "to/file")
			do(unix.Rmdir(base + "/to/file/sub"))
			count("to/file")
			side = 1
		})
		if fmt.Sprint(counts[0]) != fmt.Sprint(counts[1]) {
			t.Errorf("link counts %v, below %v", counts[1], counts[0])
		}
	})
}

// TestMakingSetsTimes: what is made is as old as its making, and its directory, of a layer or of upper, changes then; a
// call that fails changes nothing. Modes and owners are TestUmaskAndSetgid's.
func TestMakingSetsTimes(t *testing.T) {
	old := unix.Timespec{Sec: 1_000_000_000, Nsec: 123_456_789}
	calls := map[string]func(at, dir string) error{
		"create":  func(at, _ string) error { return unix.Mknod(at, unix.S_IFREG|0o644, 0) },
		"O_CREAT": func(at, _ string) error { return openClose(at, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY) },
		"mkdir":   func(at, _ string) error { return unix.Mkdir(at, 0o755) },
		"mkfifo":  func(at, _ string) error { return unix.Mkfifo(at, 0o644) },
		"mknod":   func(at, _ string) error { return unix.Mknod(at, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) },
		"socket":  func(at, _ string) error { return unix.Mknod(at, unix.S_IFSOCK|0o644, 0) },
		"symlink": func(at, _ string) error { return unix.Symlink("x", at) },
		"link":    func(at, dir string) error { return unix.Link(dir+"/linked", at) },
	}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		for what := range calls {
			put(s.lowers[0]+"/lower-"+what+"/linked", "x")
		}
		s.mount("--io", io)
		for what, call := range calls {
			put(s.in("upper-"+what+"/linked"), "x")
			for _, dir := range []string{s.in("lower-" + what), s.in("upper-" + what)} {
				reset := []unix.Timespec{old, old}
				must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir, reset, 0))
				must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/linked", reset, 0))
				before := lstat(t, dir)
				now := now(t, s)
				must(t, call(dir+"/made", dir))
				made, parent := lstat(t, dir+"/made"), lstat(t, dir)
				if parent.Mtim.Nano() < now || parent.Ctim.Nano() < now || parent.Atim != before.Atim {
					t.Errorf("%s in %s at %d: the directory has mtime %d, ctime %d, atime %v", what, dir, now, parent.Mtim.Nano(), parent.Ctim.Nano(), parent.Atim)
				}
				if what == "link" && (made.Mtim != old || made.Ctim.Nano() < now) || what != "link" && (made.Mtim.Nano() < now || made.Ctim.Nano() < now || made.Atim.Nano() < now) {
					t.Errorf("%s in %s at %d: made with mtime %d, ctime %d, atime %d", what, dir, now, made.Mtim.Nano(), made.Ctim.Nano(), made.Atim.Nano())
				}
				must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir, reset, 0))
				before = lstat(t, dir)
				wantErrno(t, what+" again", call(dir+"/made", dir), unix.EEXIST)
				if after := lstat(t, dir); after.Mtim != before.Mtim || after.Ctim != before.Ctim {
					t.Errorf("%s in %s, refused: the directory's mtime went from %v to %v, ctime from %v to %v", what, dir, before.Mtim, after.Mtim, before.Ctim, after.Ctim)
				}
			}
		}
	})
}

// TestRemovedDirectoryKeepsItsTimes: an open directory from which lower names had been removed showed another mtime once it
// was removed itself: that of the moment when its whiteouts were cleared away.
func TestRemovedDirectoryKeepsItsTimes(t *testing.T) {
	old := unix.Timespec{Sec: 1_000_000_000, Nsec: 123_456_789}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		for _, dir := range []string{"removed", "over", "moved"} {
			put(s.lowers[0]+"/"+dir+"/file", "x")
		}
		s.mount("--io", io)
		must(t, os.Mkdir(s.in("new"), 0o755))
		must(t, os.Remove(s.in("moved/file")))
		must(t, os.Rename(s.in("moved"), s.in("elsewhere")))
		for _, dir := range []string{"removed", "over", "elsewhere"} {
			if dir != "elsewhere" {
				must(t, os.Remove(s.in(dir+"/file")))
			}
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in(dir), []unix.Timespec{old, old}, 0))
			fd, err := unix.Open(s.in(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			must(t, err)
			defer unix.Close(fd)
			if dir == "over" {
				must(t, unix.Rename(s.in("new"), s.in(dir)))
			} else {
				must(t, unix.Rmdir(s.in(dir)))
			}
			var st unix.Stat_t
			must(t, unix.Fstat(fd, &st))
			if st.Mtim != old || st.Nlink != 0 && st.Nlink != 1 {
				t.Errorf("%s: mtime %v, was %v; %d links", dir, st.Mtim, old, st.Nlink)
			}
		}
	})
}

// now is the time that upper's filesystem would give to a change: the kernel's clock of files is a tick behind others.
func now(t *testing.T, s *site) int64 {
	t.Helper()
	p := s.dir + "/clock"
	write(t, p, "")
	defer os.Remove(p)
	st := lstat(t, p)
	return st.Mtim.Nano()
}
