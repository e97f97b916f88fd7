package main_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// brokenLower is a union of a lower that a test breaks, under one that stays sound.
type brokenLower struct {
	*site
	open *os.File // a big file of the lower, opened before
}

const bigLower = 8 * mebibyte

// fillBroken makes what the tests of broken lowers look for.
func fillBroken(t *testing.T, dir string) {
	t.Helper()
	mustShell(t, dir, `mkdir d; echo x >d/known; echo x >d/unknown; ln -s d link; head -c 8388608 /dev/urandom >big`)
}

// prepare mounts and uses the lower while it is sound.
func (b *brokenLower) prepare(t *testing.T, io string) {
	t.Helper()
	b.forget(b.lowers[1])
	b.mount("--io", io, "--log-level", "warn")
	wantListing(t, b.in("d"), "known", "unknown")
	wantContent(t, b.in("d/known"), "x\n")
	write(t, b.in("new"), "x")
	var err error
	b.open, err = os.Open(b.in("big"))
	must(t, err)
	t.Cleanup(func() { b.open.Close() })
}

// check asks the broken lower for everything: each answer is one of the errnos, the log says so, nothing is half
// done, and what doesn't need the lower goes on.
func (b *brokenLower) check(t *testing.T, errnos ...unix.Errno) {
	t.Helper()
	read := make([]byte, 4096)
	failing := map[string]func() error{
		"stat":                func() error { _, err := os.Lstat(b.in("d/unknown")); return err },
		"read":                func() error { _, err := os.ReadFile(b.in("d/known")); return err },
		"read what is open":   func() error { _, err := b.open.ReadAt(read, bigLower/2); return err },
		"list":                func() error { _, err := os.ReadDir(b.in("d")); return err },
		"copy-up":             func() error { return os.Chmod(b.in("big"), 0o600) },
		"copy-up to write":    func() error { return writeAt(b.in("big"), "x", 5) },
		"rename":              func() error { return os.Rename(b.in("d/known"), b.in("moved")) },
		"rename of directory": func() error { return os.Rename(b.in("d"), b.in("e")) },
		"link":                func() error { return os.Link(b.in("d/known"), b.in("linked")) },
		"rmdir":               func() error { return unix.Rmdir(b.in("d")) },
		"xattr":               func() error { _, err := unix.Lgetxattr(b.in("d/known"), "user.a", read); return err },
	}
	for what, do := range failing {
		err := do()
		answered := false
		for _, e := range errnos {
			answered = answered || err != nil && errnoOf(err) == e
		}
		if !answered {
			t.Errorf("%s: %v, want one of %v", what, err, errnos)
		}
	}
	must(t, b.open.Close())
	wantContent(t, b.in("stays"), "x")
	must(t, os.WriteFile(b.in("new"), []byte("still works"), 0o644))
	wantContent(t, b.in("new"), "still works")
	wantListing(t, b.upper, "new")
	wantListing(t, b.work+"/work")
	if got := b.inspect().State; got != "running" {
		t.Errorf("state %q", got)
	}
	text, err := os.ReadFile(b.root + "/log/m.log")
	must(t, err)
	log := string(text)
	if strings.Contains(log, "panic") || !strings.Contains(log, errnos[0].Error()) {
		t.Errorf("a request panicked, or the log does not say what failed:\n%s", log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "request failed") && !strings.Contains(line, `\"`) {
			t.Errorf("the log names no path: %s", line)
		}
	}
}

// TestLowerAnswersEIO: the disk of a lower fails while the union is mounted, and comes back. The log had lines that
// named neither the operation nor the path.
func TestLowerAnswersEIO(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		b := brokenLower{site: newSite(t, 2)}
		disk := b.diskImage("disk", "32M", "mkfs.ext4", "-q")
		b.lowers[1] = disk + "/layer"
		mkdir(t, b.lowers[1])
		write(t, b.lowers[0]+"/stays", "x")
		fillBroken(t, b.lowers[1])
		mustShell(t, b.dir, "mount -o remount,ro disk; cp --sparse=always disk.img copy.img")
		b.prepare(t, io)
		// A loop device answers EIO beyond the end of its file.
		mustShell(t, b.dir, "truncate -s 0 disk.img")
		eventually(t, "nothing of the disk is in memory", func() bool { // pages on their way to a list of the kernel's stay
			mustShell(t, b.dir, "echo 3 >/proc/sys/vm/drop_caches")
			_, list := os.ReadDir(b.lowers[1] + "/d")
			_, stat := os.Lstat(b.lowers[1] + "/d/unknown")
			_, through := os.ReadDir(b.in("d"))
			return list != nil && stat != nil && through != nil
		})
		b.check(t, unix.EIO)
		mustShell(t, b.dir, "cat copy.img >disk.img; echo 3 >/proc/sys/vm/drop_caches")
		wantContent(t, b.in("d/known"), "x\n")
		wantListing(t, b.in("d"), "known", "unknown")
		must(t, os.Rename(b.in("d/known"), b.in("moved")))
		must(t, os.Chmod(b.in("big"), 0o600))
		b.remount()
		wantListing(t, b.mnt, "big", "d", "link", "moved", "new", "stays")
		b.umount()
	})
}

// TestLowersServerIsKilled: a lower is a FUSE mount whose server dies. The log said nothing of it: what a file system
// answers that is no longer there was taken for the asker's own doing.
func TestLowersServerIsKilled(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		b := brokenLower{site: newSite(t, 2)}
		write(t, b.lowers[0]+"/stays", "x")
		fillBroken(t, b.lowers[1])
		b.throughFUSE()
		b.prepare(t, io)
		below := decode(t, mustRun(t, suite.binary, "--root", b.dir+"/root-below", "inspect", "below1"))
		must(t, unix.Kill(below[0].Pid, unix.SIGKILL))
		b.gone(below[0].Pid)
		mustShell(t, b.dir, "echo 3 >/proc/sys/vm/drop_caches")
		b.check(t, unix.ENOTCONN, unix.ECONNABORTED)
		b.umount()
	})
}
