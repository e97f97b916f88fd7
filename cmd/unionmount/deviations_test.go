package main_test

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestNotOffered: what docs/semantics.md lists as not to be had in a union is
// refused with its errno, on both connections, and changes nothing.
func TestNotOffered(t *testing.T) {
	ioctl := func(fd int, request uintptr, size int) error {
		arg := make([]byte, size)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&arg[0])))
		if errno != 0 {
			return errno
		}
		return nil
	}
	const fiemap = 0xC020660B
	eachIO(t, func(t *testing.T, contract string) {
		s := small(t)
		mustShell(t, s.lowers[0], "head -c 65536 /dev/urandom >data")
		want, err := hashFile(s.lowers[0] + "/data")
		must(t, err)
		s.mount("--io", contract)
		fd, err := unix.Open(s.in("data"), unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		other, err := unix.Open(s.in("other"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		must(t, err)
		defer unix.Close(other)
		wantErrno(t, "fallocate collapse", unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096), unix.EOPNOTSUPP)
		wantErrno(t, "fallocate insert", unix.Fallocate(fd, unix.FALLOC_FL_INSERT_RANGE, 0, 4096), unix.EOPNOTSUPP)
		wantErrno(t, "lsattr", ioctl(fd, unix.FS_IOC_GETFLAGS, 8), unix.ENOTTY)
		wantErrno(t, "chattr", ioctl(fd, unix.FS_IOC_SETFLAGS, 8), unix.ENOTTY)
		wantErrno(t, "FIEMAP", ioctl(fd, fiemap, 32), unix.EOPNOTSUPP)
		wantErrno(t, "FICLONE", unix.IoctlFileClone(other, fd), unix.EOPNOTSUPP)
		wantErrno(t, "rename with a whiteout", unix.Renameat2(unix.AT_FDCWD, s.in("file"), unix.AT_FDCWD, s.in("new"), unix.RENAME_WHITEOUT), unix.EINVAL)
		wantErrno(t, "a device that is the mark of a whiteout", unix.Mknod(s.in("mark"), unix.S_IFCHR|0o600, 0), unix.EPERM)
		var st unix.Statx_t
		must(t, unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st))
		if st.Mask&unix.STATX_BTIME != 0 {
			t.Errorf("statx gives a birth time: take it off the deviations")
		}
		t.Run("swap file", func(t *testing.T) {
			need(t, "mkswap", "swapon", "swapoff")
			mustShell(t, s.mnt, "dd if=/dev/zero of=swap bs=64k count=2 2>/dev/null; chmod 600 swap; mkswap swap >/dev/null")
			if r := run(t, "swapon", s.in("swap")); r.code == 0 {
				mustRun(t, "swapoff", s.in("swap"))
				t.Error("a swap file is taken: take it off the deviations")
			}
			must(t, os.Remove(s.in("swap")))
		})
		t.Run("upper of a kernel overlay", func(t *testing.T) {
			mustShell(t, s.mnt, "mkdir l u w")
			at := s.dir + "/overlay"
			mkdir(t, at)
			r := run(t, "mount", "-t", "overlay", "overlay", "-o", "lowerdir="+s.in("l")+",upperdir="+s.in("u")+",workdir="+s.in("w"), at)
			if r.code == 0 {
				t.Error("the kernel takes an upper in a union: take it off the deviations")
			}
			must(t, os.RemoveAll(s.in("w")))
		})
		if got, err := hashFile(s.in("data")); err != nil || got != want {
			t.Errorf("the file was changed: %v", err)
		}
		wantListing(t, s.mnt, "file", "data", "other", "l", "u")
	})
}
