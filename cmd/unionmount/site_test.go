package main_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// site is the world of one test: a directory, a --root, layers, an upper and a mount point.
type site struct {
	t      *testing.T
	dir    string
	root   string
	lowers []string // topmost first
	upper  string
	work   string
	mnt    string
	name   string
	binary string // "": the one under test

	atimes bool                         // access times belong to the promise (not for a plain user: layers he doesn't own)
	before map[string]map[string]string // fingerprint of each lower when it was first mounted
}

// sites numbers the directories of the tests.
var sites atomic.Int64

// newSite makes a site with n empty lowers. Its clean-up ends what runs there and compares the lowers with what they were.
func newSite(t *testing.T, n int) *site {
	t.Helper()
	if os.Getuid() != 0 {
		absent(t, "these tests mount: run them as root")
	}
	dir := filepath.Join(suite.dir, strconv.FormatInt(sites.Add(1), 10))
	s := &site{t: t, dir: dir, root: dir + "/root", upper: dir + "/upper", work: dir + "/work", mnt: dir + "/mnt",
		name: "m", atimes: true, before: map[string]map[string]string{}}
	for i := range n {
		s.lowers = append(s.lowers, dir+"/lower"+strconv.Itoa(i))
	}
	for _, d := range append([]string{s.root, s.upper, s.work, s.mnt}, s.lowers...) {
		mkdir(t, d)
	}
	deadline := testDeadline
	if long() {
		deadline *= 10
	}
	abort := time.AfterFunc(deadline, func() {
		t.Errorf("the test took more than %v: its connections are aborted", deadline)
		abortConnections(dir)
	})
	t.Cleanup(func() {
		s.end()
		abort.Stop()
	})
	return s
}

// end unmounts, waits for the daemons and verifies the lowers.
func (s *site) end() {
	if s.t.Failed() {
		s.showLogs()
	}
	if r := s.cli("umount", "--all"); r.code != 0 && len(mountsBelow(s.dir)) > 0 {
		s.t.Logf("umount --all at the end: %s", r)
	}
	s.verifyLowers()
	detachBelow(s.dir)
	for end := time.Now().Add(patience); len(processesOf(s.dir)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Errorf("processes outlive the unmounting of everything: %v", processesOf(s.dir))
			for _, p := range processesOf(s.dir) {
				unix.Kill(p, unix.SIGKILL)
			}
			break
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Errorf("cannot remove the test's directory: %v", err)
	}
}

// showLogs prints the daemons' own words of a test that failed.
func (s *site) showLogs() {
	filepath.WalkDir(s.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".log") {
			if text, err := os.ReadFile(path); err == nil {
				s.t.Logf("%s:\n%s", path, text[max(0, len(text)-4000):])
			}
		}
		return nil
	})
}

// guard remembers what the lowers are, once.
func (s *site) guard() {
	s.t.Helper()
	for _, l := range s.lowers {
		if s.before[l] == nil {
			s.before[l] = fingerprint(s.t, l, s.atimes)
		}
	}
}

// forget takes a lower out of the comparison: the test itself changes it.
func (s *site) forget(lower string) { s.before[lower] = map[string]string{} }

func (s *site) verifyLowers() {
	for l, before := range s.before {
		if len(before) == 0 {
			continue
		}
		if d := differences(before, fingerprint(s.t, l, s.atimes)); d != "" {
			s.t.Errorf("the lower %s was changed:\n%s", l, d)
		}
	}
}

// cli runs the binary with this site's --root.
func (s *site) cli(args ...string) result {
	s.t.Helper()
	return run(s.t, cmp.Or(s.binary, suite.binary), append([]string{"--root", s.root}, args...)...)
}

// must runs the binary; it must succeed.
func (s *site) must(args ...string) string {
	s.t.Helper()
	r := s.cli(args...)
	if r.code != 0 || r.err != nil {
		s.t.Fatalf("unionmount %s: %s", strings.Join(args, " "), r)
	}
	return r.stdout
}

// refused runs the binary; it must fail with the code, one line and each of the words.
func (s *site) refused(code int, words []string, args ...string) result {
	s.t.Helper()
	r := s.cli(args...)
	checkRefusal(s.t, r, code, words, args)
	return r
}

func checkRefusal(t *testing.T, r result, code int, words, args []string) {
	t.Helper()
	shown := strings.Join(args, " ")
	if r.code != code || r.err != nil {
		t.Errorf("unionmount %s: want exit %d: %s", shown, code, r)
		return
	}
	if n := strings.Count(strings.TrimSuffix(r.stderr, "\n"), "\n"); n > 0 {
		t.Errorf("unionmount %s: more than one line of error:\n%s", shown, r.stderr)
	}
	if !strings.HasPrefix(r.stderr, "unionmount: ") {
		t.Errorf("unionmount %s: the error does not begin with \"unionmount: \": %q", shown, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("unionmount %s: the error does not name %q: %q", shown, w, r.stderr)
		}
	}
}

// mount mounts the lowers with the upper at the mount point, under the site's name.
func (s *site) mount(flags ...string) {
	s.t.Helper()
	s.guard()
	args := []string{"mount", "--name", s.name, "--upper", s.upper, "--work", s.work}
	args = append(append(append(args, flags...), s.lowers...), s.mnt)
	if out := s.must(args...); out != s.name+"\n" {
		s.t.Fatalf("mount printed %q, want the name alone", out)
	}
}

// umount unmounts and waits for the daemon's end.
func (s *site) umount() {
	s.t.Helper()
	pid := s.inspect().Pid
	s.must("umount", s.name)
	s.gone(pid)
	if m := mountsBelow(s.mnt); len(m) > 0 {
		s.t.Fatalf("still mounted after umount: %v", m)
	}
}

// remount stops the mount and starts it again.
func (s *site) remount() {
	s.t.Helper()
	s.umount()
	s.must("start", s.name)
}

// gone waits for a daemon's end.
func (s *site) gone(pid int) {
	s.t.Helper()
	if pid <= 1 {
		s.t.Fatalf("no such daemon: pid %d", pid)
	}
	eventually(s.t, "the daemon "+strconv.Itoa(pid)+" is gone", func() bool { return ended(pid) })
}

// inspect returns the record of the site's mount.
func (s *site) inspect() record {
	s.t.Helper()
	records := decode(s.t, s.must("inspect", s.name))
	if len(records) != 1 {
		s.t.Fatalf("inspect %s printed %d records", s.name, len(records))
	}
	return records[0]
}

// in names a path inside the union.
func (s *site) in(path string) string { return filepath.Join(s.mnt, path) }

// kernelOverlay mounts what the site has with the kernel's own overlayfs.
func (s *site) kernelOverlay(at string, options ...string) {
	s.t.Helper()
	mkdir(s.t, at)
	o := append([]string{"lowerdir=" + strings.Join(s.lowers, ":"), "upperdir=" + s.upper, "workdir=" + s.work}, options...)
	mustRun(s.t, "mount", "-t", "overlay", "overlay", "-o", strings.Join(o, ","), at)
}

// diskImage makes a small file system of its own in a file and mounts it at a new directory.
func (s *site) diskImage(name, size string, mkfs ...string) string {
	s.t.Helper()
	need(s.t, mkfs[0], "truncate", "mount")
	image, at := s.dir+"/"+name+".img", s.dir+"/"+name
	mkdir(s.t, at)
	mustRun(s.t, "truncate", "-s", size, image)
	mustRun(s.t, mkfs[0], append(mkfs[1:], image)...)
	mustRun(s.t, "mount", "-o", "loop", image, at)
	return at
}

// useUpper makes the site's upper and work anew, at other paths.
func (s *site) useUpper(upper, work string) {
	s.t.Helper()
	s.upper, s.work = upper, work
	mkdir(s.t, upper)
	mkdir(s.t, work)
}

// upperOnDisk gives the upper a small file system of its own, and tells where that is mounted.
func (s *site) upperOnDisk(size string, mkfs ...string) string {
	s.t.Helper()
	disk := s.diskImage("disk", size, mkfs...)
	s.useUpper(disk+"/upper", disk+"/work")
	return disk
}

// upperToLayer makes what the upper holds the topmost layer, and begins a new upper.
func (s *site) upperToLayer() {
	s.t.Helper()
	s.lowers = append([]string{s.upper}, s.lowers...)
	n := len(s.lowers)
	s.useUpper(fmt.Sprint(s.dir, "/upper", n), fmt.Sprint(s.dir, "/work", n))
}
