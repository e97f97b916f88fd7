package main_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoRoomShowsAtOnce: though the kernel holds back what is written, write(2)
// itself says that there is no room: a shell's echo looks at no close(2).
func TestNoRoomShowsAtOnce(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "head -c 33554432 /dev/urandom > big; chmod 4755 big; echo small > small")
	disk := s.upperOnDisk("16M", "mkfs.ext4", "-q", "-m", "0")
	s.mount("--io", "cached")
	open := func(name string, flags int) int {
		t.Helper()
		fd, err := unix.Open(s.in(name), flags|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	put := func(fd int) error {
		_, err := unix.Write(fd, []byte("more\n"))
		return err
	}
	big, there := open("big", 0), open("there", unix.O_CREAT)
	for range 2 {
		wantErrno(t, "write to a lower file without room for it", put(big), unix.ENOSPC)
	}
	must(t, put(there))
	must(t, unix.Fsync(there))
	fresh := open("fresh", unix.O_CREAT)
	mustShell(t, disk, "for bs in 64k 512; do dd if=/dev/zero bs=$bs of=filler oflag=append conv=notrunc 2>/dev/null && exit 1; done; sync -f filler; test $(stat -f -c %a .) = 0")
	wantErrno(t, "write to a new file on a full disk", put(fresh), unix.ENOSPC)
	wantErrno(t, "write to a small lower file on a full disk", put(open("small", unix.O_APPEND)), unix.ENOSPC)
	must(t, put(there)) // the block is there
	must(t, unix.Fsync(there))
	if r := run(t, "sh", "-c", "echo more >> "+s.in("small")); r.code == 0 {
		t.Error("a shell does not notice that the disk is full")
	}
	mustShell(t, disk, "rm filler")
	must(t, put(fresh))
	must(t, put(open("small", unix.O_APPEND)))
	must(t, unix.Fsync(fresh))
	wantContent(t, s.in("fresh"), "more\n")
	wantContent(t, s.in("small"), "small\nmore\n")
	wantContent(t, s.in("there"), "more\nmore\n")
	if mode := lstat(t, s.in("big")).Mode; mode != 0o104755 {
		t.Errorf("the lower file that could not be written to has mode %o now", mode)
	}
}

// TestHeldBack: what is written is held back until fsync or close, unless nothing shall be.
func TestHeldBack(t *testing.T) {
	for option, want := range map[string]string{"": "", "writeback=on": "", "writeback=off": "held"} {
		s := newSite(t, 1)
		args := []string{"--io", "cached"}
		if option != "" {
			args = append(args, "-o", option)
		}
		s.mount(args...)
		fd, err := unix.Open(s.in("new"), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		_, err = unix.Write(fd, []byte("held"))
		must(t, err)
		wantContent(t, s.upper+"/new", want)
		wantContent(t, s.in("new"), "held")
		must(t, unix.Fsync(fd))
		wantContent(t, s.upper+"/new", "held")
		_, err = unix.Write(fd, []byte(" again"))
		must(t, err)
		must(t, unix.Close(fd))
		wantContent(t, s.upper+"/new", "held again")
		s.umount()
	}
}

// TestTruncateToTheSameSize: truncate(2) to the size that a file had already changed its mtime, which showed at the next
// mount only, for the kernel keeps the times of what it holds back and leaves this one as it is. (ftruncate(2) changes it.)
func TestTruncateToTheSameSize(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "echo lower > lower; touch -d @1000000000.123456789 lower")
	s.mount("--io", "cached")
	mustShell(t, s.mnt, ": > upper; touch -d @1000000000.123456789 upper")
	shown := map[string]unix.Timespec{}
	for name, size := range map[string]int64{"lower": 6, "upper": 0} {
		must(t, unix.Truncate(s.in(name), size))
		shown[name] = lstat(t, s.in(name)).Mtim
	}
	s.remount()
	for name, mtime := range shown {
		if now := lstat(t, s.in(name)).Mtim; now != mtime || mtime.Sec != 1000000000 {
			t.Errorf("%s: mtime %v, and %v at the next mount", name, mtime, now)
		}
	}
}

// TestRemovalCopiesNothingUp: the flush of times that the kernel sends after an unlink copied up the lower file that
// had just been removed.
func TestRemovalCopiesNothingUp(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "head -c 8388608 /dev/urandom > big; ln big linked; head -c 8388608 /dev/urandom > other; mkdir d; cp other d/below")
	disk := s.upperOnDisk("64M", "mkfs.ext4", "-q")
	s.mount("--io", "cached")
	used := func() int64 {
		t.Helper()
		var st unix.Statfs_t
		must(t, unix.Statfs(disk, &st))
		return int64(st.Blocks-st.Bfree) * st.Bsize
	}
	fd, err := unix.Open(s.in("other"), unix.O_RDONLY|unix.O_CLOEXEC, 0) // the copy would go with the file else
	must(t, err)
	defer unix.Close(fd)
	before := used()
	mustShell(t, s.mnt, "rm other; rm -r d")
	if grown := used() - before; grown > 1<<20 {
		t.Errorf("upper grew by %d bytes as files of a lower were removed", grown)
	}
	mustShell(t, s.mnt, "test ! -e other; test ! -e d; rm big; cmp linked linked; test $(stat -c %h linked) = 1")
}

// TestUtimesOfTheSameMtime: utimensat(2) that set a file's mtime to what it was already was taken for the kernel's flush after
// an unlink: ctime went back at the next mount, and an immutable lower file said nothing.
func TestUtimesOfTheSameMtime(t *testing.T) {
	need(t, "chattr")
	s := newSite(t, 2)
	mtime := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: 1000000000, Nsec: 123456789}}
	for i, name := range []string{"lower", "fixed"} {
		mustShell(t, s.lowers[i], "echo lower > "+name+"; touch -d @1000000000.123456789 "+name)
	}
	mustRun(t, "chattr", "+i", s.lowers[1]+"/fixed")
	t.Cleanup(func() {
		s.forget(s.lowers[1]) // its ctime
		mustRun(t, "chattr", "-i", s.lowers[1]+"/fixed")
	})
	s.mount("--io", "cached")
	mustShell(t, s.mnt, ": > upper; touch -d @1000000000.123456789 upper; sleep 0.5")
	shown := map[string]unix.Timespec{}
	for _, name := range []string{"lower", "upper"} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.in(name), mtime, 0))
		shown[name] = lstat(t, s.in(name)).Ctim
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, s.in("fixed"), mtime, 0); err != unix.EPERM {
		t.Errorf("of an immutable file: %v", err)
	}
	s.remount()
	for name, ctime := range shown {
		if now := lstat(t, s.in(name)).Ctim; now.Nano() < ctime.Nano() {
			t.Errorf("%s: ctime went back from %v to %v", name, ctime, now)
		}
	}
}

// TestLateDataKeepsMtime: data that the kernel had held back moved the mtime on the disk when it arrived: the next mount
// showed a later one than this one had.
func TestLateDataKeepsMtime(t *testing.T) {
	s := newSite(t, 1)
	mustShell(t, s.lowers[0], "echo lower > lower")
	s.mount("--io", "cached")
	shown := map[string]unix.Timespec{}
	for _, name := range []string{"new", "lower"} {
		f, err := os.OpenFile(s.in(name), os.O_WRONLY|os.O_CREATE, 0o644)
		must(t, err)
		_, err = f.WriteString("data")
		must(t, errors.Join(err, os.Rename(s.in(name), s.in(name+"2")))) // the kernel flushes the times, not the data
		time.Sleep(300 * time.Millisecond)
		must(t, f.Close())
		shown[name+"2"] = lstat(t, s.in(name+"2")).Mtim
	}
	s.remount()
	for name, mtime := range shown {
		if now := lstat(t, s.in(name)).Mtim; now != mtime {
			t.Errorf("%s: mtime %v, and %v at the next mount", name, mtime, now)
		}
	}
}

// TestReadAhead: root's mount reads ahead as much as one request asks for, a MiB: it
// was the kernel's 128 KiB.
func TestReadAhead(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		s.mount("--io", io)
		dev := uint64(lstat(t, s.mnt).Dev)
		text, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(dev), unix.Minor(dev)))
		must(t, err)
		if string(text) != "1024\n" {
			t.Errorf("read_ahead_kb is %q", text)
		}
	})
}
