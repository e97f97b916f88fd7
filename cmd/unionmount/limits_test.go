package main_test

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStatfsIsTheUppers(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		s.upperOnDisk("32M", "mkfs.ext4", "-q")
		s.mount("--io", io)
		var want, got unix.Statfs_t
		must(t, unix.Statfs(s.upper, &want))
		must(t, unix.Statfs(s.mnt, &got))
		if got.Blocks != want.Blocks || got.Bsize != want.Bsize || got.Files != want.Files || got.Namelen != 255 {
			t.Errorf("statfs %+v, upper's %+v", got, want)
		}
		s.umount()
	})
}

func TestTimesInNanoseconds(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		for _, n := range []string{"file", "never", "now"} {
			write(t, s.lowers[0]+"/"+n, "x")
			old(t, s.lowers[0]+"/"+n, 1_000_000_000, 987_654_321)
		}
		must(t, os.Symlink("file", s.lowers[0]+"/link"))
		s.mount("--io", io)
		if st := lstat(t, s.in("file")); st.Mtim.Nsec != 987_654_321 {
			t.Errorf("a lower's mtime: %+v", st.Mtim)
		}
		far := []unix.Timespec{{Sec: 4_000_000_000, Nsec: 1}, {Sec: -1, Nsec: 999_999_999}}
		for _, n := range []string{"file", "link"} {
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in(n), far, unix.AT_SYMLINK_NOFOLLOW))
		}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in("never"), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: 7, Nsec: 8}}, 0))
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in("now"), []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}, 0))
		for range 2 {
			for _, n := range []string{"file", "link"} {
				if st := lstat(t, s.in(n)); st.Mtim != far[1] || n == "file" && st.Atim != far[0] {
					t.Errorf("%s: atime %+v mtime %+v", n, st.Atim, st.Mtim)
				}
			}
			if st := lstat(t, s.in("never")); st.Atim.Sec != 1_000_000_005 || st.Mtim != (unix.Timespec{Sec: 7, Nsec: 8}) {
				t.Errorf("UTIME_OMIT: atime %+v mtime %+v", st.Atim, st.Mtim)
			}
			if st := lstat(t, s.in("now")); st.Atim.Sec < 1_100_000_000 || st.Mtim.Nsec != 987_654_321 {
				t.Errorf("UTIME_NOW: atime %+v mtime %+v", st.Atim, st.Mtim)
			}
			s.remount()
		}
	})
}

// TestOddNames: 255 bytes, any bytes but / and NUL, and names that mean something to other unions.
func TestOddNames(t *testing.T) {
	long := strings.Repeat("l", 255)
	names := []string{long, strings.Repeat("\xff", 255), "\xff\xfe not utf-8 \x80", " ", "new\nline", "back\\slash", "-rf", "tab\t", "é",
		"e\u0301", "colon:comma,", "#work", "...", "work", "index", "*", "\x01\x7f"}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		plain := s.dir + "/plain"
		for _, base := range []string{s.lowers[0], plain} {
			for _, n := range names {
				write(t, base+"/lower/"+n, "lower")
				write(t, base+"/dirs/"+n+"/"+n, "in a directory")
			}
		}
		s.mount("--io", io)
		for _, base := range []string{plain, s.mnt} {
			must(t, os.Mkdir(base+"/upper", 0o755))
			for i, n := range names {
				write(t, base+"/upper/"+n, "upper")
				switch p := base + "/lower/" + n; i % 4 {
				case 0:
					must(t, os.Remove(p))
				case 1:
					appendTo(t, p, "more")
				case 2:
					must(t, os.Remove(p))
					must(t, os.Mkdir(p, 0o755))
				case 3:
					must(t, os.Link(p, base+"/upper/"+n+"2"))
				}
				if i%2 == 0 {
					must(t, os.RemoveAll(base+"/dirs/"+n))
				} else {
					must(t, os.Rename(base+"/dirs/"+n, base+"/dirs/renamed"+fmt.Sprint(i)))
				}
			}
		}
		sameTree(t, "after", plain, s.mnt)
		tooLong := s.in(long + "l")
		wantErrno(t, "create of 256 bytes", openClose(tooLong, unix.O_CREAT|unix.O_WRONLY), unix.ENAMETOOLONG)
		wantErrno(t, "mkdir of 256 bytes", unix.Mkdir(tooLong, 0o755), unix.ENAMETOOLONG)
		wantErrno(t, "lookup of 256 bytes", unix.Unlink(tooLong), unix.ENAMETOOLONG)
		wantErrno(t, "rename to 256 bytes", unix.Rename(s.in("upper"), tooLong), unix.ENAMETOOLONG)
		wantErrno(t, "symlink of 256 bytes", unix.Symlink("x", tooLong), unix.ENAMETOOLONG)
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
	})
}

// TestDeepPaths: a path of 4,095 bytes works, one of 4,096 is ENAMETOOLONG.
func TestDeepPaths(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		must(t, unix.Mkdir(s.in("deep"), 0o755))
		at := s.in("deep")
		for len(at)+202 < 4095 {
			at += "/" + strings.Repeat("p", 200)
			must(t, unix.Mkdir(at, 0o755))
		}
		exact := at + "/" + strings.Repeat("e", 4095-len(at)-1)
		must(t, os.WriteFile(exact, []byte("deep"), 0o644))
		wantContent(t, exact, "deep")
		wantErrno(t, "a path of 4,096 bytes", openClose(exact+"e", unix.O_CREAT|unix.O_WRONLY), unix.ENAMETOOLONG)
		must(t, os.Rename(s.in("deep"), s.in("d/deeper")))
		must(t, os.RemoveAll(s.in("d/deeper")))
		target := strings.Repeat("t", 4095)
		must(t, os.Symlink(target, s.in("link")))
		if got, err := os.Readlink(s.in("link")); got != target {
			t.Errorf("a link of 4,095 bytes reads %d bytes: %v", len(got), err)
		}
		s.remount()
		wantListing(t, s.in("d"), "file")
	})
}

// TestDeeperThanAPath: a tree deeper than any path can say is made and removed step by step, as on the file system below.
func TestDeeperThanAPath(t *testing.T) {
	s := newSite(t, 1)
	plain := s.dir + "/plain"
	mkdir(t, plain)
	s.mount()
	for _, base := range []string{plain, s.mnt} {
		fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		for depth := range 30 {
			name := strings.Repeat("q", 200)
			err := unix.Mkdirat(fd, name, 0o755)
			next := -1
			if err == nil {
				next, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			}
			unix.Close(fd)
			if fd = next; err != nil {
				t.Errorf("%s: at a depth of %d directories of 200 bytes: %v", base, depth, err)
				break
			}
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		mustRun(t, "rm", "-rf", base+"/"+strings.Repeat("q", 200))
		wantListing(t, base)
	}
}

// TestPrivateXattrs: our own names are hidden and can't be set as such; they are
// escaped, so that a union can be the layer of another union.
func TestPrivateXattrs(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/f", "x")
		must(t, unix.Setxattr(s.lowers[0]+"/d", "user.visible", []byte("v"), 0))
		s.mount("--io", io)
		must(t, os.RemoveAll(s.in("d")))
		must(t, os.Mkdir(s.in("d"), 0o755))
		if got := xattrs(s.in("d")); len(got) != 0 {
			t.Errorf("an opaque directory shows %q", got)
		}
		_, err := unix.Getxattr(s.in("d"), "trusted.overlay.opaque", make([]byte, 10))
		wantErrno(t, "getxattr of a mark", err, unix.ENODATA)
		write(t, s.in("d/new"), "n")
		own := map[string]string{"trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/d", "trusted.overlay.unionmount.x": "1",
			"trusted.overlay.overlay.opaque": "twice", "trusted.other": "o"}
		for name, value := range own {
			must(t, unix.Setxattr(s.in("d"), name, []byte(value), 0))
		}
		check := func(when, dir string) {
			if got := xattrs(dir); !maps.Equal(got, own) {
				t.Errorf("%s: xattrs are %q, want %q", when, got, own)
			}
		}
		check("after setxattr", s.in("d"))
		wantListing(t, s.in("d"), "new")
		s.remount()
		check("after a remount", s.in("d"))
		wantListing(t, s.in("d"), "new")
		must(t, unix.Removexattr(s.in("d"), "trusted.overlay.opaque"))
		delete(own, "trusted.overlay.opaque")
		check("after removexattr", s.in("d"))
		wantErrno(t, "removexattr again", unix.Removexattr(s.in("d"), "trusted.overlay.opaque"), unix.ENODATA)
	})
}

// TestUnionAsLayer: marks set inside a union are data to it and marks to the union above, of which it is the lower.
func TestUnionAsLayer(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/bottom/a/f", "bottom")
		write(t, s.lowers[0]+"/bottom/b/f", "bottom")
		s.mount("--io", io)
		write(t, s.in("top/a/g"), "top")
		write(t, s.in("top/b/g"), "top")
		must(t, unix.Setxattr(s.in("top/a"), "trusted.overlay.opaque", []byte("y"), 0))
		second := s.dir + "/second"
		mkdir(t, second)
		mkdir(t, s.dir+"/upper2")
		s.must("mount", "--name", "above", "--io", io, "-u", s.dir+"/upper2", "--work", s.dir+"/work2", s.in("top"), s.in("bottom"), second)
		check := func(when string, b ...string) {
			t.Helper()
			t.Log(when)
			wantListing(t, second+"/a", "g")
			wantListing(t, second+"/b", b...)
		}
		check("mounted", "f", "g")
		appendTo(t, second+"/b/f", " changed")
		must(t, os.Remove(second+"/b/g"))
		check("changed", "f")
		wantContent(t, s.in("bottom/b/f"), "bottom")
		wantContent(t, s.in("top/b/g"), "top")
		s.must("umount", "above")
		s.must("start", "above")
		check("after a remount", "f")
		wantContent(t, second+"/b/f", "bottom changed")
		s.must("umount", "above")
	})
}

// TestUpperInAUnion works, or is refused before anything changes, but does not fail half-way.
func TestUpperInAUnion(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/layer/gone", "x")
	write(t, s.lowers[0]+"/layer/d/f", "x")
	s.mount()
	mkdir(t, s.in("upper"))
	mkdir(t, s.in("work"))
	second := s.dir + "/second"
	mkdir(t, second)
	r := s.cli("mount", "--name", "inner", "-u", s.in("upper"), "--work", s.in("work"), s.in("layer"), second)
	if r.code != 0 {
		checkRefusal(t, r, 5, []string{s.in("upper")}, []string{"mount"})
		wantListing(t, s.in("upper"))
		return
	}
	wantErrno(t, "unlink", unix.Unlink(second+"/gone"), 0)
	wantErrno(t, "rename", unix.Rename(second+"/d", second+"/e"), 0)
	wantListing(t, second, "e")
	wantListing(t, second+"/e", "f")
	s.must("umount", "inner")
}
