package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// long tells that the tests run at full length.
func long() bool { return os.Getenv("UNIONMOUNT_LONG") != "" }

// plainBinary is the product as it is shipped: the race detector costs memory of its own.
func plainBinary(t *testing.T) string {
	t.Helper()
	if !raceDetector {
		return suite.binary
	}
	out := filepath.Join(suite.dir, "plain")
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

const mebibyte = 1 << 20

// resident is a process's resident memory in bytes.
func resident(t *testing.T, pid int) int64 { return status(t, pid, "VmRSS:") << 10 }

// status reads one number of /proc/PID/status.
func status(t *testing.T, pid int, key string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			must(t, err)
			return n
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, key)
	return 0
}

// forgetCaches makes the kernel forget names and inodes that nobody uses.
func forgetCaches(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0))
}

// fillLayer makes n files below dir, a thousand to a directory.
func fillLayer(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		sub := fmt.Sprintf("%s/dir%04d", dir, i/1000)
		if i%1000 == 0 {
			mkdir(t, sub)
		}
		fd, err := unix.Open(fmt.Sprintf("%s/file-%06d", sub, i), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		must(t, unix.Close(fd))
	}
}

// walk stats everything below dir.
func walk(t *testing.T, dir string) (n int) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		n++
		if err != nil {
			return err
		}
		var st unix.Stat_t
		return unix.Lstat(p, &st)
	}))
	return n
}

// TestMemoryOfKnownFiles walks many lower files: 400 MiB are enough for a million
// of them, and a minute after the kernel has forgotten them, 80 MiB for the daemon.
func TestMemoryOfKnownFiles(t *testing.T) {
	files, bar := 100_000, int64(70*mebibyte)
	if long() {
		files, bar = 1_000_000, 400*mebibyte
	}
	s := newSite(t, 1)
	s.binary = plainBinary(t)
	fillLayer(t, s.lowers[0], files)
	for _, io := range []string{"cached", "open"} {
		s.mount("--io", io)
		pid := s.inspect().Pid
		idle := resident(t, pid)
		if n := walk(t, s.mnt); n < files {
			t.Fatalf("walked %d of %d files", n, files)
		}
		known := resident(t, pid)
		t.Logf("%s: %d files: %.1f MiB idle, %.1f MiB known, %d bytes a file", io, files,
			float64(idle)/mebibyte, float64(known)/mebibyte, (known-idle)/int64(files))
		if known > bar {
			t.Errorf("%s: %.1f MiB while %d files are known, at most %d are wanted", io, float64(known)/mebibyte, files, bar/mebibyte)
		}
		forgetCaches(t)
		end := time.Now().Add(time.Minute)
		for resident(t, pid) > 80*mebibyte || resident(t, pid) > idle+(known-idle)/3 {
			if time.Now().After(end) {
				t.Errorf("%s: %.1f MiB a minute after all was forgotten", io, float64(resident(t, pid))/mebibyte)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%s: %.1f MiB after they were forgotten", io, float64(resident(t, pid))/mebibyte)
		s.umount()
		s.must("rm", s.name)
	}
}

// TestMemoryOfAListing lists a merged directory of very many names: 300 MiB are enough for a million.
func TestMemoryOfAListing(t *testing.T) {
	names, bar := 120_000, int64(80*mebibyte) // names after the first 1,000 are not looked up
	if long() {
		names, bar = 1_000_000, 300*mebibyte
	}
	s := newSite(t, 2)
	s.binary = plainBinary(t)
	for i, l := range s.lowers {
		mkdir(t, l+"/wide")
		for k := i; k < names; k += 2 {
			fd, err := unix.Open(fmt.Sprintf("%s/wide/name-%07d", l, k), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			must(t, err)
			must(t, unix.Close(fd))
		}
	}
	for _, io := range []string{"cached", "open"} {
		s.mount("--io", io)
		pid := s.inspect().Pid
		for range 2 {
			if out := strings.TrimSpace(mustShell(t, s.mnt, "ls -f wide | wc -l")); out != strconv.Itoa(names+2) {
				t.Errorf("%s: listed %s names, want %d and the two dots", io, out, names)
			}
		}
		peak := status(t, pid, "VmHWM:") << 10
		if out := strings.TrimSpace(mustShell(t, s.mnt, "find wide -type f -perm 644 | wc -l")); out != strconv.Itoa(names) {
			t.Errorf("%s: found %s files, want %d", io, out, names)
		}
		t.Logf("%s: %d names: at most %.1f MiB", io, names, float64(peak)/mebibyte)
		if peak > bar {
			t.Errorf("%s: %.1f MiB to list %d names, at most %d are wanted", io, float64(peak)/mebibyte, names, bar/mebibyte)
		}
		s.umount()
		s.must("rm", s.name)
	}
}

// TestNothingPilesUp works in rounds that end as they began: from the second to the tenth nothing grows.
func TestNothingPilesUp(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		s.binary = plainBinary(t)
		fillLayer(t, s.lowers[0], 1000)
		fillLayer(t, s.lowers[1], 1000)
		s.mount("--io", io)
		pid := s.inspect().Pid
		after := func(rounds int) held {
			for range rounds {
				work(t, s.mnt)
				forgetCaches(t)
				time.Sleep(200 * time.Millisecond) // FORGETs come after their cause
			}
			return holds(t, s, pid)
		}
		first := after(2)
		for before, try := first, 0; ; try++ {
			last := after(8)
			t.Logf("before %+v, eight rounds later %+v", before, last)
			moreThreads := last.threads > before.threads+4
			if last.descriptors > first.descriptors+8 || moreThreads && try == 2 || last.memory > first.memory+24*mebibyte ||
				last.goroutines > first.goroutines+4 || last.nodes > first.nodes+8 || last.open > first.open {
				t.Fatalf("it grows: %+v, eight rounds later %+v; after two %+v", before, last, first)
			}
			if !moreThreads {
				return
			}
			before = last // Go keeps the threads that one crowded moment took; those that pile up do so each time
		}
	})
}

type held struct {
	descriptors, threads    int
	goroutines, nodes, open int
	memory                  int64
}

func holds(t *testing.T, s *site, pid int) held {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	h := held{descriptors: len(fds), threads: int(status(t, pid, "Threads:")), memory: resident(t, pid)}
	said := func() []string {
		log, err := os.ReadFile(s.root + "/log/" + s.name + ".log")
		must(t, err)
		return regexp.MustCompile(`msg=holds .*`).FindAllString(string(log), -1)
	}
	before := len(said())
	must(t, unix.Kill(pid, unix.SIGUSR1))
	eventually(t, "the daemon says what it holds", func() bool { return len(said()) > before })
	_, err = fmt.Sscanf(said()[before], "msg=holds goroutines=%d nodes=%d open=%d", &h.goroutines, &h.nodes, &h.open)
	must(t, err)
	return h
}

// work reads everything, makes, changes and removes files, and leaves nothing of its own.
func work(t *testing.T, dir string) {
	t.Helper()
	walk(t, dir)
	mustShell(t, dir, `set -e
mkdir new
for i in $(seq 60); do echo $i > new/$i; done
cat new/* dir0000/* > /dev/null
for i in $(seq 20); do mv new/$i new/moved$i; ln new/moved$i new/$i; done
rm -r new`)
}
