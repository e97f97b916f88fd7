package main_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOddPlaces: a mount may lie anywhere, whatever the characters of its path mean elsewhere.
func TestOddPlaces(t *testing.T) {
	s := small(t)
	for _, name := range []string{"sp ace\nline\ttab", `co:lon,com\ma\`, `-d"ash#ünï😀`, strings.Repeat("n", 255)} {
		d := s.dir + "/" + name
		for _, sub := range []string{"u", "m"} {
			mkdir(t, d+"/"+sub)
		}
		write(t, d+"/l/f", "lower\n")
		s.must("mount", "--name", "odd", "-u", d+"/u", d+"/l", d+"/m")
		appendTo(t, d+"/m/f", "more\n")
		wantContent(t, d+"/u/f", "lower\nmore\n")
		got := decode(t, s.must("inspect", d+"/m"))[0]
		if got.Mountpoint != d+"/m" || got.Layers[0] != d+"/l" || got.Upper != d+"/u" {
			t.Errorf("%q: inspect says %+v", name, got)
		}
		mustRun(t, "umount", d+"/m")
		s.gone(got.Pid)
		s.must("start", "odd")
		s.must("umount", d+"/m")
		s.must("rm", "odd")
	}
}

// TestPathsNoRecordKeeps: a record is JSON, which would keep another path than was
// meant; the daemon was told that one and found nothing there.
func TestPathsNoRecordKeeps(t *testing.T) {
	s := small(t)
	bad := s.dir + "/bad\xff"
	write(t, bad+"/file", "x")
	mkdir(t, bad+"/upper")
	s.refused(1, []string{`bad\xff`, "UTF-8", "symbolic link"}, "mount", bad, s.mnt)
	s.refused(1, []string{`bad\xff`}, "mount", "-u", bad+"/upper", s.lowers[0], s.mnt)
	s.refused(1, []string{`bad\xff`}, "mount", "-v", bad+":/v", s.lowers[0], s.mnt)
	must(t, os.Symlink(bad, s.dir+"/good"))
	s.must("mount", "--name", "m", s.dir+"/good", s.mnt)
	wantContent(t, s.in("file"), "x")
	s.must("umount", "m")
}

// TestRelativePlaces: relative paths, trailing slashes, links and the current directory name the same mount.
func TestRelativePlaces(t *testing.T) {
	s := small(t)
	must(t, os.Symlink("mnt", s.dir+"/link"))
	in := func(dir, script string) string {
		return mustShell(t, dir, strings.ReplaceAll(script, "unionmount", suite.binary))
	}
	in(s.dir, "unionmount --root ./root mount --name m lower0/// link/")
	if got := s.inspect(); got.Mountpoint != s.mnt || got.Layers[0] != s.lowers[0] {
		t.Errorf("inspect: %+v", got)
	}
	wantContent(t, s.in("file"), "lower\n")
	for _, what := range []string{"mnt", "./mnt/", "link", "../" + filepath.Base(s.dir) + "/mnt", "m"} {
		if out := in(s.dir, "unionmount --root root inspect --format {{.Name}} "+what); out != "m\n" {
			t.Errorf("inspect %s: %q", what, out)
		}
	}
	in(s.dir, "unionmount --root root umount ./link")
	in(s.mnt, "unionmount --root ../root start m .; cat ../mnt/file; cd ..; unionmount --root root umount mnt")
}

// TestNames: what a name may be; one that could be a path or a flag is refused.
func TestNames(t *testing.T) {
	s := small(t)
	for _, name := range []string{"a", "0", "a.b_c-d", strings.Repeat("x", 128)} {
		if out := s.must("mount", "--name", name, s.lowers[0], s.mnt); out != name+"\n" {
			t.Errorf("mount --name %s printed %q", name, out)
		}
		s.must("umount", name)
		s.must("start", name)
		s.must("rm", "-f", name)
	}
	for _, name := range []string{".", "..", "a/b", "/a", "-a", ".a", "_a", "ä", "a b", "a\nb", strings.Repeat("x", 129)} {
		s.refused(2, []string{"name"}, "mount", "--name="+name, s.lowers[0], s.mnt)
	}
	if m := mountsBelow(s.mnt); len(m) > 0 {
		t.Errorf("mounted: %v", m)
	}
}

// TestReadOnlyRoot: listings need nothing to be written; what does says where it couldn't.
func TestReadOnlyRoot(t *testing.T) {
	s := small(t)
	s.mount()
	other := s.dir + "/other"
	mkdir(t, other)
	s.must("mount", "--name", "stopped", s.lowers[0], other)
	s.must("umount", "stopped")
	ro := s.dir + "/read-only"
	mkdir(t, ro)
	mustRun(t, "mount", "--bind", s.root, ro)
	mustRun(t, "mount", "-o", "remount,bind,ro", ro)
	at := func(args ...string) result { return run(t, suite.binary, append([]string{"--root", ro}, args...)...) }
	if r := at("ls", "-a", "--format", "{{.Name}} {{.State}}"); r.code != 0 || r.stdout != "m running\nstopped stopped\n" {
		t.Errorf("ls: %s", r)
	}
	if r := at("inspect", "m"); r.code != 0 || decode(t, r.stdout)[0].State != "running" {
		t.Errorf("inspect: %s", r)
	}
	for _, args := range [][]string{{"mount", s.lowers[0], other}, {"start", "stopped"}, {"rm", "stopped"}} {
		checkRefusal(t, at(args...), 1, []string{"read-only file system", ro, "--root"}, args)
	}
	s.must("umount", "m")
}

// TestFullRoot: a full disk is not a broken catalogue. It was set aside for one,
// and made anew at each command, while ls listed nothing and rm could make no room.
func TestFullRoot(t *testing.T) {
	s := small(t)
	s.root = s.dir + "/disk"
	mkdir(t, s.root)
	mustRun(t, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", s.root)
	other := s.dir + "/other"
	mkdir(t, other)
	s.must("mount", "--name", "big", s.lowers[0], other)
	s.mount()
	fill(t, other+"/filler")
	s.must("umount", "big")
	fill(t, s.root+"/filler")
	list := func(want string) {
		t.Helper()
		if r := s.cli("ls", "-a", "--format", "{{.Name}} {{.State}}"); r.code != 0 || r.stdout != want || r.stderr != "" {
			t.Errorf("ls: %s", r)
		}
	}
	list("big stopped\nm running\n")
	s.refused(1, []string{"no space left", s.root}, "mount", "--name", "more", s.lowers[0], other)
	list("big stopped\nm running\n")
	s.must("rm", "big")
	list("m running\n")
	if found, _ := filepath.Glob(s.root + "/catalog.broken*"); len(found) > 0 {
		t.Errorf("set aside: %v", found)
	}
	must(t, os.Remove(s.root+"/filler"))
	s.must("mount", "--name", "more", s.lowers[0], other)
	list("m running\nmore running\n")
	s.must("umount", "--all")
	unmount(t, s.root) // the daemon may just be closing its log
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	wantErrno(t, "filling", err, unix.ENOSPC)
}

// TestFewDescriptors: a hard limit that 300 layers exceed is named with its remedy, and nothing is left.
func TestFewDescriptors(t *testing.T) {
	s := newSite(t, 300)
	args := append([]string{"--nofile=200:200", suite.binary, "--root", s.root, "mount"}, append(s.lowers, s.mnt)...)
	checkRefusal(t, run(t, "prlimit", args...), 1, []string{"too many open files", "ulimit -n"}, args[1:4])
	if out := s.must("ls", "-aq"); out != "" || len(mountsBelow(s.mnt)) > 0 {
		t.Errorf("left: %q", out)
	}
}

// TestKilledWhileMounting: the daemon or the command is killed at any moment of a
// mount with two binds: ls, umount, start and rm agree on what is there, and the name is free afterwards.
func TestKilledWhileMounting(t *testing.T) {
	s := small(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 8 {
		cmd := command(t, suite.binary, "--root", s.root, "mount", "--name", "m", "--volume-io", "bind", "-v", "one:/v", "-v", "two:/v/w", s.lowers[0], s.mnt)
		must(t, cmd.Start())
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		victims := processesOf(suite.dir)
		if i%2 == 0 && len(victims) > 1 { // the daemon alone; else all
			victims = victims[len(victims)-1:]
		}
		for _, pid := range victims {
			unix.Kill(pid, unix.SIGKILL)
		}
		_ = cmd.Wait()
		eventually(t, "the killed are gone", func() bool { return len(processesOf(suite.dir)) == 0 || i%2 == 0 })
		s.cli("umount", "m")
		if m := mountsBelow(s.mnt); len(m) > 0 {
			t.Fatalf("round %d: after umount still mounted: %v; ls: %s", i, m, s.cli("ls", "-a"))
		}
		if r := s.cli("start", "m"); r.code == 0 {
			write(t, s.in("v/w/f"), "x")
			wantContent(t, s.root+"/volumes/two/_data/f", "x")
		} else if r.code != 3 {
			t.Fatalf("round %d: start: %s", i, r)
		}
		if r := s.cli("rm", "-f", "m"); r.code != 0 && r.code != 3 {
			t.Fatalf("round %d: rm: %s", i, r)
		}
		if out := s.must("ls", "-aq"); out != "" || len(mountsBelow(s.mnt)) > 0 {
			t.Fatalf("round %d: left: %q, mounts %v", i, out, mountsBelow(s.mnt))
		}
	}
	s.must("mount", "--name", "m", s.lowers[0], s.mnt)
}

// TestPropagation: under shared, private and slave trees all forms of unmounting take the union and its binds, here and where they were propagated to.
func TestPropagation(t *testing.T) {
	for _, kind := range []string{"shared", "private", "slave"} {
		eachWay(t, func(t *testing.T, way string) {
			s := small(t)
			tree, peer := s.dir+"/tree", s.dir+"/peer"
			mkdir(t, tree)
			mkdir(t, peer)
			mustRun(t, "mount", "-t", "tmpfs", "tmpfs", tree)
			mkdir(t, tree+"/mnt")
			mustRun(t, "mount", "--make-shared", tree)
			mustRun(t, "mount", "--bind", tree, peer)
			mustRun(t, "mount", "--make-"+kind, tree)
			s.mnt = tree + "/mnt"
			s.mount("--volume-io", way, "-v", "data:/v", "-v", "deep:/v/w")
			forms := []func(){
				func() { s.must("umount", s.name) },
				func() { s.must("umount", "--lazy", s.name) },
				func() { mustRun(t, "umount", "-R", s.mnt) },
				func() { mustRun(t, "umount", "-l", s.mnt) },
			}
			if way != "bind" || kind == "private" {
				forms = forms[:1]
			}
			for i, end := range forms {
				write(t, s.in("v/w/f"), "x")
				pid := s.inspect().Pid
				end()
				s.gone(pid)
				if m := append(mountsBelow(s.mnt), mountsBelow(peer+"/mnt")...); len(m) > 0 {
					t.Errorf("%s, form %d: left %v", kind, i, m)
				}
				s.must("start", s.name)
			}
			s.umount()
		})
	}
}
