package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// everyType is a lower with one object of each type, each with all the metadata it can have.
func everyType(t *testing.T) *site {
	t.Helper()
	need(t, "setfacl", "setcap")
	s := newSite(t, 1)
	d := s.lowers[0] + "/d"
	write(t, d+"/file", "content\n")
	write(t, d+"/program", "#!/bin/sh\n")
	write(t, d+"/empty", "")
	mkdir(t, d+"/dir")
	write(t, d+"/dir/inside", "inside\n")
	must(t, os.Symlink("file", d+"/link"))
	must(t, unix.Mkfifo(d+"/fifo", 0o600))
	must(t, unix.Mknod(d+"/char", unix.S_IFCHR|0o620, int(unix.Mkdev(1, 7))))
	must(t, unix.Mknod(d+"/block", unix.S_IFBLK|0o620, int(unix.Mkdev(7, 200))))
	must(t, unix.Mknod(d+"/socket", unix.S_IFSOCK|0o640, 0))
	for i, n := range listing(t, d) {
		p := d + "/" + n
		must(t, os.Lchown(p, 1000+i, 2000+i))
		if n == "link" {
			continue
		}
		must(t, unix.Chmod(p, uint32(0o600+i*8)))
		mustRun(t, "setfacl", "-m", "u:77:r,g:88:rw", p)
		must(t, unix.Lsetxattr(p, "trusted.mine", []byte("t\x00\xff"), 0))
	}
	for _, n := range []string{"file", "dir", "empty"} {
		must(t, unix.Setxattr(d+"/"+n, "user.mine", []byte(strings.Repeat("u", 1000)), 0))
		must(t, unix.Setxattr(d+"/"+n, "user.empty", nil, 0))
	}
	must(t, unix.Lsetxattr(d+"/link", "trusted.mine", []byte("on a link"), 0))
	mustRun(t, "setfacl", "-d", "-m", "u:77:rwx,o::-", d+"/dir")
	must(t, unix.Chmod(d+"/program", 0o6755))
	mustRun(t, "setcap", "cap_net_raw+ep", d+"/program")
	for i, n := range append(listing(t, d), ".") {
		old(t, d+"/"+n, int64(1_000_000_000+i), int64(111_111_111*(i%9)+7))
	}
	return s
}

// old sets access and modification time of an object itself.
func old(t *testing.T, path string, sec, nsec int64) {
	t.Helper()
	times := []unix.Timespec{{Sec: sec + 5, Nsec: nsec + 1}, {Sec: sec, Nsec: nsec}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
}

// withTimes describes a tree with modification times, where asked.
func withTimes(t *testing.T, root string) map[string]string {
	return describe(t, root, func(st *unix.Stat_t) string { return fmt.Sprintf(" mtime %d.%09d", st.Mtim.Sec, st.Mtim.Nsec) })
}

// TestCopyUpKeepsMetadata: a copy-up made by a rename, which changes nothing of
// the object itself, keeps owner, mode, times, ACLs, xattrs, capabilities of every file type.
func TestCopyUpKeepsMetadata(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := everyType(t)
		s.mount("--io", io)
		want := withTimes(t, s.in("d"))
		view, closeView := quietly(s.lowers[0] + "/d")
		defer closeView()
		if d := differences(withTimes(t, view), want); d != "" {
			t.Errorf("the union shows a lower differently:\n%s", d)
		}
		for _, n := range listing(t, s.in("d")) {
			must(t, os.Rename(s.in("d/"+n), s.in("d/"+n+"~")))
			must(t, os.Rename(s.in("d/"+n+"~"), s.in("d/"+n)))
		}
		old(t, s.in("d"), 1_000_000_010, 111_111_111+7)
		want["."] = withTimes(t, s.in("d"))["."]
		if d := differences(want, withTimes(t, s.in("d"))); d != "" {
			t.Errorf("after copy-up:\n%s", d)
		}
		for _, n := range []string{"file", "program", "empty", "link", "fifo", "char", "block", "socket", "dir"} {
			if _, err := os.Lstat(s.upper + "/d/" + n); err != nil {
				t.Errorf("not copied up: %v", err)
			}
		}
		s.remount()
		if d := differences(want, withTimes(t, s.in("d"))); d != "" {
			t.Errorf("after a remount:\n%s", d)
		}
		if acl := mustRun(t, "getfacl", "-n", "-p", s.in("d/file")); !strings.Contains(acl, "user:77:r--") {
			t.Errorf("getfacl: %s", acl)
		}
		if caps := mustRun(t, "getcap", s.in("d/program")); !strings.Contains(caps, "cap_net_raw") {
			t.Errorf("getcap: %q", caps)
		}
	})
}

// TestCopyUpKeepsParentsTimes: a copy-up adds nothing that a user did, so no directory's time moves.
func TestCopyUpKeepsParentsTimes(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		write(t, s.lowers[1]+"/a/b/c/file", "x\n")
		write(t, s.lowers[0]+"/a/b/other", "x\n")
		for _, l := range s.lowers {
			for _, d := range []string{"a/b/c/file", "a/b/c", "a/b", "a", "."} {
				if _, err := os.Lstat(l + "/" + d); err == nil {
					old(t, l+"/"+d, 1_234_567_890, 123_456_789)
				}
			}
		}
		s.mount("--io", io)
		before := withTimes(t, s.mnt)
		must(t, os.Chmod(s.in("a/b/c/file"), 0o600))
		after := withTimes(t, s.mnt)
		delete(before, "a/b/c/file")
		delete(after, "a/b/c/file")
		if d := differences(before, after); d != "" {
			t.Errorf("after a chmod far below:\n%s", d)
		}
		if st := lstat(t, s.in("a/b/c/file")); st.Mtim.Sec != 1_234_567_890 {
			t.Errorf("chmod moved the file's own mtime to %d", st.Mtim.Sec)
		}
		s.remount()
		after = withTimes(t, s.mnt)
		delete(after, "a/b/c/file")
		if d := differences(before, after); d != "" {
			t.Errorf("after a remount:\n%s", d)
		}
	})
}

// TestCopyUpTriggers: each change of a lower file keeps all that it doesn't change.
func TestCopyUpTriggers(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 10_000)
	triggers := map[string]func(path string) error{
		"append":  func(p string) error { add(p, "more"); return nil },
		"pwrite":  func(p string) error { return writeAt(p, "XYZ", 100_000) },
		"beyond":  func(p string) error { return writeAt(p, "XYZ", 500_000) },
		"chmod":   func(p string) error { return os.Chmod(p, 0o2711) },
		"chown":   func(p string) error { return os.Chown(p, 3, 4) },
		"utimes":  func(p string) error { return unix.UtimesNano(p, []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 3, Nsec: 4}}) },
		"xattr":   func(p string) error { return unix.Setxattr(p, "user.new", []byte("v"), 0) },
		"rmxattr": func(p string) error { return unix.Removexattr(p, "user.old") },
		"shorter": func(p string) error { return os.Truncate(p, 1000) },
		"longer":  func(p string) error { return os.Truncate(p, 1_000_000) },
		"empty":   func(p string) error { return os.Truncate(p, 0) },
		"same":    func(p string) error { return os.Truncate(p, int64(len(content))) },
		"O_TRUNC": func(p string) error { return os.WriteFile(p, []byte("new"), 0) },
		"link":    func(p string) error { return os.Link(p, p+"-2") },
		"fallocate": func(p string) error {
			return withFile(p, func(fd int) error { return unix.Fallocate(fd, 0, 0, 300_000) })
		},
		"punch": func(p string) error {
			return withFile(p, func(fd int) error {
				return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 40_960)
			})
		},
		"mmap": func(p string) error {
			return withFile(p, func(fd int) error {
				m, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				if err != nil {
					return err
				}
				copy(m[4000:], "through the mapping")
				return unix.Munmap(m)
			})
		},
		"removed and new": func(p string) error { do(os.Remove(p)); return os.WriteFile(p, []byte("n"), 0o640) },
	}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		plain := s.dir + "/plain"
		for name := range triggers {
			for _, base := range []string{s.lowers[0], plain} {
				p := base + "/" + name + "/file"
				write(t, p, content)
				must(t, os.Chown(p, 11, 12))
				must(t, os.Chmod(p, 0o640))
				must(t, unix.Setxattr(p, "user.old", []byte("old"), 0))
			}
		}
		s.mount("--io", io)
		for name, trigger := range triggers {
			for _, base := range []string{plain, s.mnt} {
				if err := trigger(base + "/" + name + "/file"); err != nil {
					t.Errorf("%s in %s: %v", name, base, err)
				}
			}
		}
		sameTree(t, "after the changes", plain, s.mnt)
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
	})
}

func withFile(path string, use func(fd int) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(use(int(f.Fd())), f.Close()) // what was held back fails at close
}

func writeAt(path, content string, offset int64) error {
	return withFile(path, func(fd int) error { _, err := unix.Pwrite(fd, []byte(content), offset); return err })
}

// used is how many bytes of disk everything below a directory takes.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			sum += st.Blocks * 512
		}
		return nil
	}))
	return sum
}

// TestTruncateCopiesNoData: 64 MiB are not copied in order to be thrown away.
// The upper is a file system of 16 MiB: a copy would not fit.
func TestTruncateCopiesNoData(t *testing.T) {
	ways := map[string]struct {
		do   func(p string) error
		size int64
	}{
		"O_TRUNC":       {func(p string) error { return openClose(p, unix.O_WRONLY|unix.O_TRUNC) }, 1},
		"O_TRUNC|CREAT": {func(p string) error { return openClose(p, unix.O_RDWR|unix.O_TRUNC|unix.O_CREAT) }, 1},
		"truncate":      {func(p string) error { return os.Truncate(p, 0) }, 0},
		"to a part":     {func(p string) error { return os.Truncate(p, 5000) }, 5000},
		"ftruncate":     {func(p string) error { return withFile(p, func(fd int) error { return unix.Ftruncate(fd, 10) }) }, 10},
	}
	eachIO(t, func(t *testing.T, io string) {
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				s := newSite(t, 1)
				big := s.lowers[0] + "/big"
				mustShell(t, s.dir, "head -c 67108864 /dev/zero | tr '\\0' x > "+big)
				s.upperOnDisk("16M", "mkfs.ext4", "-q")
				s.mount("--io", io)
				must(t, way.do(s.in("big")))
				if st := lstat(t, s.in("big")); st.Size != way.size {
					t.Errorf("size %d, want %d", st.Size, way.size)
				}
				if n := used(t, s.upper); n > 1<<20 {
					t.Errorf("the upper holds %d bytes", n)
				}
				s.umount()
			})
		}
	})
}

// TestCopyUpKeepsHoles: a sparse file stays sparse, and its data stays at its place.
func TestCopyUpKeepsHoles(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		p := s.lowers[0] + "/sparse"
		write(t, p, "head")
		must(t, os.Truncate(p, 1<<30))
		must(t, writeAt(p, "middle", 1<<29))
		must(t, writeAt(p, "tail", 1<<30-4))
		s.mount("--io", io)
		must(t, os.Chmod(s.in("sparse"), 0o600))
		if n := used(t, s.upper); n > 1<<20 {
			t.Errorf("the copy takes %d bytes of disk", n)
		}
		st := lstat(t, s.in("sparse"))
		if st.Size != 1<<30 || st.Blocks*512 > 1<<20 {
			t.Errorf("size %d blocks %d", st.Size, st.Blocks)
		}
		f, err := os.Open(s.in("sparse"))
		must(t, err)
		defer f.Close()
		for off, want := range map[int64]string{0: "head", 1 << 29: "middle", 1<<30 - 4: "tail", 1 << 28: "\x00\x00\x00\x00"} {
			buf := make([]byte, len(want))
			if _, err := f.ReadAt(buf, off); err != nil || string(buf) != want {
				t.Errorf("at %d: %q, %v, want %q", off, buf, err, want)
			}
		}
	})
}

// TestCopyUpReflinks: on btrfs a copy-up shares the data: the upper has less room than the file needs.
func TestCopyUpReflinks(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 0)
		need(t, "mkfs.btrfs")
		s.lowers = []string{s.upperOnDisk("256M", "mkfs.btrfs", "-q") + "/lower"}
		mkdir(t, s.lowers[0])
		mustShell(t, s.lowers[0], "head -c 134217728 /dev/urandom > big; sync -f .")
		s.mount("--io", io)
		must(t, os.Chmod(s.in("big"), 0o600))
		must(t, writeAt(s.in("big"), "changed", 1<<20))
		if st := lstat(t, s.in("big")); st.Size != 1<<27 {
			t.Errorf("size %d", st.Size)
		}
		s.umount()
	})
}
