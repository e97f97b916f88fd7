package main_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// limitCase is an operation on the path at; other is a path of ordinary length beside it.
type limitCase struct {
	what   string
	before string // what must be there: "file", "dir", "other" (a file at the other path) or nothing
	call   func(at, other string) error
}

// limitCases are the calls that pjdfstest tries at the limits of a name and of a path, and that fuse-overlayfs fails.
func limitCases() []limitCase {
	return []limitCase{
		{"chmod", "file", func(at, _ string) error { return unix.Chmod(at, 0o600) }},
		{"chown", "file", func(at, _ string) error { return unix.Chown(at, 1, 2) }},
		{"lchown", "file", func(at, _ string) error { return unix.Lchown(at, 3, 4) }},
		{"utimensat", "file", func(at, _ string) error { return unix.Utimes(at, []unix.Timeval{{Sec: 1}, {Sec: 2}}) }},
		{"setxattr", "file", func(at, _ string) error { return unix.Setxattr(at, "user.x", []byte("v"), 0) }},
		{"truncate", "file", func(at, _ string) error { return unix.Truncate(at, 2) }},
		{"open and ftruncate", "file", func(at, _ string) error {
			fd, err := unix.Open(at, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Ftruncate(fd, 3)
		}},
		{"create", "", func(at, _ string) error { return openClose(at, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY) }},
		{"mkdir", "", func(at, _ string) error { return unix.Mkdir(at, 0o750) }},
		{"mkfifo", "", func(at, _ string) error { return unix.Mkfifo(at, 0o640) }},
		{"mknod", "", func(at, _ string) error { return unix.Mknod(at, unix.S_IFCHR|0o640, int(unix.Mkdev(1, 3))) }},
		{"symlink", "", func(at, _ string) error { return unix.Symlink("target", at) }},
		{"link from", "file", func(at, other string) error { return unix.Link(at, other) }},
		{"link to", "other", func(at, other string) error { return unix.Link(other, at) }},
		{"rename from", "file", func(at, other string) error { return unix.Rename(at, other) }},
		{"rename to", "other", func(at, other string) error { return unix.Rename(other, at) }},
		{"rename of a directory", "dir", func(at, other string) error { return unix.Rename(at, other) }},
		{"rmdir", "dir", func(at, _ string) error { return unix.Rmdir(at) }},
		{"unlink", "file", func(at, _ string) error { return unix.Unlink(at) }},
	}
}

// prepare makes what a case needs.
func (c limitCase) prepare(at, other string) {
	switch c.before {
	case "file":
		put(at, "content")
	case "other":
		put(other, "content")
	case "dir":
		do(os.Mkdir(at, 0o755))
	}
}

// TestNamesAtTheLimit: every call takes a name of 255 bytes, of a layer and of upper, and answers ENAMETOOLONG to one of 256.
func TestNamesAtTheLimit(t *testing.T) {
	name := strings.Repeat("n", 255)
	eachIO(t, func(t *testing.T, io string) {
		bothSides(t, io, func(base string) {
			for _, c := range limitCases() {
				for _, origin := range []string{"lower", "upper"} {
					dir := base + "/" + c.what + "-" + origin
					do(os.Mkdir(dir, 0o755))
					if origin == "lower" {
						c.prepare(dir+"/"+name, dir+"/other")
					}
				}
			}
		}, func(base string) {
			for _, c := range limitCases() {
				for _, origin := range []string{"lower", "upper"} {
					dir := base + "/" + c.what + "-" + origin
					if origin == "upper" {
						c.prepare(dir+"/"+name, dir+"/other")
					}
					wantErrno(t, c.what+" of 256 bytes, "+dir, c.call(dir+"/"+name+"n", dir+"/other"), unix.ENAMETOOLONG)
					wantErrno(t, c.what+" of 255 bytes, "+dir, c.call(dir+"/"+name, dir+"/other"), 0)
				}
			}
		})
	})
}

// TestPathsAtTheLimit: every call takes a path of 4,095 bytes and answers ENAMETOOLONG to one of 4,096.
func TestPathsAtTheLimit(t *testing.T) {
	const longest = unix.PathMax - 1
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		deep := s.in("d")
		for len(deep)+1+200 < longest-255 {
			deep += "/" + strings.Repeat("p", 200)
			must(t, unix.Mkdir(deep, 0o755))
		}
		for i, c := range limitCases() {
			dir := deep + "/" + string(rune('a'+i)) // the longest path has one more name, of less than 255 bytes
			must(t, unix.Mkdir(dir, 0o755))
			last := longest - len(dir) - 1
			dir2 := dir
			if last > 255 {
				dir2 = dir + "/" + strings.Repeat("q", last-255)
				must(t, unix.Mkdir(dir2, 0o755))
				last = longest - len(dir2) - 1
			}
			at := dir2 + "/" + strings.Repeat("e", last)
			if len(at) != longest {
				t.Fatalf("the test's path has %d bytes", len(at))
			}
			other := dir2 + "/o"
			c.prepare(at, other)
			wantErrno(t, c.what+" of 4,096 bytes", c.call(at+"e", other), unix.ENAMETOOLONG)
			wantErrno(t, c.what+" of 4,095 bytes", c.call(at, other), 0)
		}
		must(t, os.Rename(s.in("d"), s.in("moved")))
		s.remount()
		must(t, os.RemoveAll(s.in("moved")))
		wantListing(t, s.mnt)
	})
}
