package main_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOldDescriptorSeesCopyUp: a descriptor and a mapping opened read-only before
// copy-up see what is written after it (in a mapping kernel overlayfs shows the old content).
func TestOldDescriptorSeesCopyUp(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		page := strings.Repeat("old ", 2048)
		write(t, s.lowers[0]+"/file", page)
		write(t, s.lowers[0]+"/mapped", page)
		s.mount("--io", io)
		f, err := os.Open(s.in("file"))
		must(t, err)
		defer f.Close()
		buf := make([]byte, 8192)
		_, err = f.ReadAt(buf, 0)
		must(t, err)
		g, err := os.Open(s.in("mapped"))
		must(t, err)
		defer g.Close()
		m, err := unix.Mmap(int(g.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
		must(t, err)
		defer unix.Munmap(m)
		if string(m[:4]) != "old " || string(m[8188:]) != "old " {
			t.Fatalf("the mapping reads %q", m[:4])
		}
		for _, n := range []string{"file", "mapped"} {
			must(t, writeAt(s.in(n), "NEW!", 0))
			must(t, writeAt(s.in(n), "NEW!", 4096))
			appendTo(t, s.in(n), "tail")
		}
		if n, _ := f.ReadAt(buf, 4096); string(buf[:4]) != "NEW!" || string(buf[n-4:n]) != "tail" {
			t.Errorf("the descriptor reads %q ... %q", buf[:4], buf[n-4:n])
		}
		if fi, err := f.Stat(); err != nil || fi.Size() != 8196 {
			t.Errorf("fstat of the descriptor: %v %v", fi, err)
		}
		if string(m[:4]) != "NEW!" || string(m[4096:4100]) != "NEW!" || string(m[4:8]) != "old " {
			t.Errorf("the mapping reads %q, %q, %q", m[:4], m[4096:4100], m[4:8])
		}
		must(t, os.Rename(s.in("file"), s.in("renamed")))
		must(t, writeAt(s.in("renamed"), "LAST", 0))
		f.ReadAt(buf, 0)
		if string(buf[:4]) != "LAST" {
			t.Errorf("after a rename the descriptor reads %q", buf[:4])
		}
	})
}

// TestOpenAndUnlinked: everything that an open file can do when its name is gone, from lower and from upper.
func TestOpenAndUnlinked(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/lower", "content")
		write(t, s.lowers[0]+"/copied", "content")
		s.mount("--io", io)
		write(t, s.in("upper"), "content")
		must(t, os.Chmod(s.in("copied"), 0o600))
		for _, n := range []string{"lower", "copied", "upper"} {
			f, err := os.OpenFile(s.in(n), os.O_RDWR, 0)
			must(t, err)
			r, err := os.Open(s.in(n))
			must(t, err)
			must(t, os.Remove(s.in(n)))
			wantAbsent(t, s.in(n))
			fd := int(f.Fd())
			var st unix.Stat_t
			must(t, unix.Fstat(fd, &st))
			if st.Nlink != 0 {
				t.Errorf("%s: nlink %d", n, st.Nlink)
			}
			_, err = f.WriteAt([]byte("CON"), 0)
			wantErrno(t, n+": write", err, 0)
			wantErrno(t, n+": fchmod", unix.Fchmod(fd, 0o604), 0)
			wantErrno(t, n+": fchown", unix.Fchown(fd, 7, 8), 0)
			wantErrno(t, n+": fsetxattr", unix.Fsetxattr(fd, "user.x", []byte("v"), 0), 0)
			wantErrno(t, n+": ftruncate", unix.Ftruncate(fd, 5), 0)
			wantErrno(t, n+": fsync", unix.Fsync(fd), 0)
			wantErrno(t, n+": fallocate", unix.Fallocate(fd, 0, 0, 9), 0)
			wantErrno(t, n+": futimens", unix.UtimesNanoAt(fd, "", []unix.Timespec{{Sec: 1}, {Sec: 2, Nsec: 3}}, unix.AT_EMPTY_PATH), 0)
			must(t, unix.Fstat(fd, &st))
			if st.Mode != unix.S_IFREG|0o604 || st.Uid != 7 || st.Gid != 8 || st.Size != 9 || st.Mtim.Sec != 2 || st.Mtim.Nsec != 3 {
				t.Errorf("%s: fstat after the changes: %+v", n, st)
			}
			buf := make([]byte, 20)
			if k, _ := r.ReadAt(buf, 0); string(buf[:k]) != "CONte\x00\x00\x00\x00" {
				t.Errorf("%s: the other descriptor reads %q", n, buf[:k])
			}
			write(t, s.in(n), "another file")
			if k, _ := r.ReadAt(buf, 0); k != 9 {
				t.Errorf("%s: a new file of the name is read through the old descriptor: %q", n, buf[:k])
			}
			f.Close()
			r.Close()
			wantContent(t, s.in(n), "another file")
		}
	})
}

// TestOpenAndRenamed: an open file and an open directory are used through their descriptors after a rename.
func TestOpenAndRenamed(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		write(t, s.lowers[0]+"/d/file", "content")
		write(t, s.lowers[1]+"/d/sub/other", "other")
		s.mount("--io", io)
		d, err := os.Open(s.in("d"))
		must(t, err)
		defer d.Close()
		f, err := os.OpenFile(s.in("d/file"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, os.Rename(s.in("d"), s.in("e")))
		must(t, os.Rename(s.in("e/file"), s.in("e/moved")))
		_, err = f.WriteAt([]byte("CON"), 0)
		must(t, err)
		must(t, unix.Fchmod(int(f.Fd()), 0o600))
		wantContent(t, s.in("e/moved"), "CONtent")
		fd, err := unix.Openat(int(d.Fd()), "new", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		unix.Close(fd)
		must(t, unix.Mkdirat(int(d.Fd()), "sub/inner", 0o755))
		names, err := d.Readdirnames(-1)
		must(t, err)
		if len(names) != 3 {
			t.Errorf("the open directory lists %q", names)
		}
		wantListing(t, s.in("e"), "moved", "new", "sub")
		wantListing(t, s.in("e/sub"), "inner", "other")
		must(t, unix.Fchmod(int(d.Fd()), 0o701))
		if st := lstat(t, s.in("e")); st.Mode&0o7777 != 0o701 {
			t.Errorf("mode %o after fchmod through the descriptor", st.Mode&0o7777)
		}
	})
}

// TestRemovedDirectory: an open directory that was removed is empty, and nothing can be made in it.
func TestRemovedDirectory(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		d, err := os.Open(s.in("d"))
		must(t, err)
		defer d.Close()
		must(t, os.RemoveAll(s.in("d")))
		must(t, os.Mkdir(s.in("d"), 0o755))
		write(t, s.in("d/new"), "new")
		_, err = unix.Openat(int(d.Fd()), "x", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		wantErrno(t, "create in a removed directory", err, unix.ENOENT)
		wantErrno(t, "mkdir in a removed directory", unix.Mkdirat(int(d.Fd()), "x", 0o755), unix.ENOENT)
		var st unix.Stat_t
		must(t, unix.Fstat(int(d.Fd()), &st))
		if st.Ino == lstat(t, s.in("d")).Ino {
			t.Error("the removed directory and the new one have one number")
		}
		wantListing(t, s.in("d"), "new")
	})
}

// TestTemporaryFile: O_TMPFILE, and its link into the tree.
func TestTemporaryFile(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		before := describe(t, s.in("d"), nil)
		fd, err := unix.Open(s.in("d"), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
		must(t, err)
		f := os.NewFile(uintptr(fd), "tmp")
		defer f.Close()
		_, err = f.WriteString("temporary")
		must(t, err)
		if d := differences(before, describe(t, s.in("d"), nil)); d != "" {
			t.Errorf("the file shows before it has a name:\n%s", d)
		}
		must(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, s.in("d/named"), unix.AT_SYMLINK_FOLLOW))
		wantContent(t, s.in("d/named"), "temporary")
		_, err = f.WriteString(" and more")
		must(t, err)
		if st := lstat(t, s.in("d/named")); st.Mode != unix.S_IFREG|0o640 || st.Nlink != 1 {
			t.Errorf("mode %o nlink %d", st.Mode, st.Nlink)
		}
		fd2, err := unix.Open(s.in("d"), unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0o640)
		must(t, err)
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd2), unix.AT_FDCWD, s.in("d/never"), unix.AT_SYMLINK_FOLLOW)
		wantErrno(t, "link of an O_EXCL temporary file", err, unix.ENOENT)
		unix.Close(fd2)
		f.Close()
		s.remount()
		wantContent(t, s.in("d/named"), "temporary and more")
		wantListing(t, s.work+"/work")
	})
}

// TestAppendFromTwoProcesses: no line is lost, on a lower file that is copied up by the first.
func TestAppendFromTwoProcesses(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/log", "first\n")
		s.mount("--io", io)
		done := make(chan result, 2)
		for _, mark := range []string{"one", "two"} {
			cmd := child(t, "append", s.in("log"), "500", mark)
			go func() { done <- finish(cmd) }()
		}
		for range 2 {
			if r := <-done; r.code != 0 {
				t.Error(r)
			}
		}
		data, err := os.ReadFile(s.in("log"))
		must(t, err)
		if n := bytes.Count(data, []byte("\n")); n != 1001 || len(data) != 6+1000*11 {
			t.Errorf("%d lines in %d bytes, want 1001 in %d", n, len(data), 6+1000*11)
		}
	})
}

func TestHolesAndRanges(t *testing.T) {
	eachIO(t, func(t *testing.T, contract string) {
		s := newSite(t, 1)
		plain := s.dir + "/plain"
		data := strings.Repeat("0123456789abcdef", 4096) // 64 KiB
		for _, base := range []string{s.lowers[0], plain} {
			write(t, base+"/file", data)
			write(t, base+"/source", strings.ToUpper(data))
		}
		s.mount("--io", contract)
		for _, base := range []string{plain, s.mnt} {
			f, err := os.OpenFile(base+"/file", os.O_RDWR, 0)
			must(t, err)
			src, err := os.Open(base + "/source")
			must(t, err)
			fd := int(f.Fd())
			must(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 8192))
			must(t, unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 20_000, 1000))
			must(t, unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096))
			from, to := int64(100), int64(30_000)
			for left := 5000; left > 0; {
				n, err := unix.CopyFileRange(int(src.Fd()), &from, fd, &to, left, 0)
				must(t, err)
				if n == 0 {
					t.Fatal("copy_file_range copies nothing")
				}
				left -= n
			}
			var seen []int64
			for _, w := range []struct {
				off    int64
				whence int
			}{{0, unix.SEEK_HOLE}, {8192, unix.SEEK_DATA}, {16384, unix.SEEK_HOLE}, {0, unix.SEEK_DATA}} {
				off, err := unix.Seek(fd, w.off, w.whence)
				must(t, err)
				seen = append(seen, off)
			}
			if want := []int64{8192, 16384, 65536, 0}; fmt.Sprint(seen) != fmt.Sprint(want) {
				t.Errorf("%s: SEEK_HOLE, SEEK_DATA say %v, want %v", base, seen, want)
			}
			_, err = unix.Seek(fd, 70_000, unix.SEEK_DATA)
			wantErrno(t, "SEEK_DATA past the end", err, unix.ENXIO)
			_, err = f.Seek(0, io.SeekStart)
			must(t, err)
			must(t, unix.Fallocate(fd, 0, 0, 100_000))
			f.Close()
			src.Close()
		}
		sameTree(t, "after", plain, s.mnt)
	})
}

// TestMappings: shared writable, private, beyond the end, and a file mapped before its copy-up by another.
func TestMappings(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/file", strings.Repeat("x", 10_000))
		s.mount("--io", io)
		must(t, withFile(s.in("file"), func(fd int) error {
			shared, err := unix.Mmap(fd, 0, 12_288, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			must(t, err)
			private, err := unix.Mmap(fd, 0, 12_288, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
			must(t, err)
			private[1] = 'p'
			copy(shared, "mapped")
			must(t, unix.Msync(shared, unix.MS_SYNC))
			buf := make([]byte, 6)
			unix.Pread(fd, buf, 0)
			if string(buf) != "mapped" {
				t.Errorf("read after a write through the mapping: %q", buf)
			}
			must(t, writeAt(s.in("file"), "written", 5000))
			if string(shared[5000:5007]) != "written" {
				t.Errorf("the mapping after a write: %q", shared[5000:5007])
			}
			must(t, unix.Munmap(private))
			return unix.Munmap(shared)
		}))
		s.remount()
		data, err := os.ReadFile(s.in("file"))
		must(t, err)
		if string(data[:6]) != "mapped" || string(data[5000:5007]) != "written" || len(data) != 10_000 {
			t.Errorf("after a remount: %q, %q, %d bytes", data[:6], data[5000:5007], len(data))
		}
	})
}
