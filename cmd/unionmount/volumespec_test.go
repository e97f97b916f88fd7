package main_test

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMountLongForm: what --mount says holds in the mount, after a restart too.
func TestMountLongForm(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/etc/conf", "layer\n")
		write(t, s.data("deep", "a/b/f"), "f\n")
		write(t, s.data("deep", "secret"), "secret\n")
		write(t, s.data("deep", "conf"), "volume's\n")
		s.mount("--volume-io", way,
			"--mount", "src=made,dst=/made,volume-label=k=v",
			"--mount", "type=volume,source=deep,target=/sub,readonly,volume-subpath=a/b",
			"--mount", "src=deep,dst=/etc/conf,volume-subpath=conf",
			"--mount", "type=bind,src="+s.dir+"/created/here,dst=/host,bind-create-src,consistency=cached",
			"--mount", "type=tmpfs,dst=/ram,tmpfs-size=1m,tmpfs-mode=0711",
			"-v", "lab:/lab:z")
		check := func() {
			t.Helper()
			wantListing(t, s.in("sub"), "f")
			wantErrno(t, "write to a read-only subpath", os.WriteFile(s.in("sub/f"), nil, 0o644), unix.EROFS)
			wantContent(t, s.in("etc/conf"), "volume's\n")
			write(t, s.in("host/x"), "x\n")
			wantContent(t, s.dir+"/created/here/x", "x\n")
			if st := lstat(t, s.in("ram")); st.Mode&0o7777 != 0o711 {
				t.Errorf("mode of the tmpfs: %o", st.Mode&0o7777)
			}
			wantListing(t, s.in("ram"))
			wantErrno(t, "write more than the tmpfs holds", os.WriteFile(s.in("ram/big"), make([]byte, 2<<20), 0o644), unix.ENOSPC)
		}
		check()
		if v := s.volume("made"); v.Labels["k"] != "v" {
			t.Errorf("labels: %v", v.Labels)
		}
		for _, word := range []string{"consistency=cached", "z of the volume"} {
			if log, _ := os.ReadFile(s.root + "/log/m.log"); !strings.Contains(string(log), word) {
				t.Errorf("the log doesn't tell of %q", word)
			}
		}
		s.remount()
		check()
		s.umount()
		if m := mountsBelow(s.root); len(m) > 0 {
			t.Errorf("still mounted: %v", m)
		}
		wantAbsent(t, s.root+"/run/m.tmpfs")
	})
}

// TestSubpathOfAFile: a file of the volume is changed in every way where the union shows
// it, and no copy of it: the host sees each change, and the union the host's.
func TestSubpathOfAFile(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/etc/conf", "layer\n")
		host := s.data("vol", "d/conf")
		write(t, host, "volume's\n")
		ino := lstat(t, host).Ino
		s.mount("--volume-io", way, "--mount", "src=vol,dst=/etc/conf,volume-subpath=d/conf", "--mount", "src=vol,dst=/etc/new,volume-subpath=d/conf,ro")
		at := s.in("etc/conf")
		for _, remounted := range []bool{false, true} {
			if remounted {
				s.remount()
			}
			must(t, writeAt(at, "union's and longer\n", 0))
			wantContent(t, host, "union's and longer\n")
			wantContent(t, s.in("etc/new"), "union's and longer\n")
			must(t, os.Truncate(at, 5))
			wantContent(t, host, "union")
			must(t, os.WriteFile(at, []byte("anew\n"), 0)) // O_TRUNC
			wantContent(t, host, "anew\n")
			must(t, os.Chmod(at, 0o640))
			must(t, os.Chown(at, 12, 34))
			must(t, unix.Setxattr(at, "user.note", []byte("by the union"), 0))
			must(t, unix.Utimes(at, []unix.Timeval{{Sec: 1000}, {Sec: 2000}}))
			if st := lstat(t, host); st.Ino != ino || st.Mode&0o7777 != 0o640 || st.Uid != 12 || st.Gid != 34 || st.Mtim.Sec != 2000 {
				t.Errorf("the host's file is %+v", st)
			}
			value := make([]byte, 64)
			if n, err := unix.Getxattr(host, "user.note", value); err != nil || string(value[:n]) != "by the union" {
				t.Errorf("the attribute is %q, %v", value[:max(n, 0)], err)
			}
			must(t, unix.Removexattr(at, "user.note"))
			_, err := unix.Getxattr(host, "user.note", value)
			wantErrno(t, "an attribute that was removed", err, unix.ENODATA)
			must(t, os.WriteFile(host, []byte("host's\n"), 0))
			wantContent(t, at, "host's\n")
			lstat(t, at) // what was seen before is not kept
			must(t, os.Chmod(host, 0o600))
			if st := lstat(t, at); st.Mode&0o7777 != 0o600 {
				t.Errorf("the host's mode shows as %o", st.Mode&0o7777)
			}
			ro := s.in("etc/new")
			wantErrno(t, "write to a read-only file", os.WriteFile(ro, nil, 0), unix.EROFS)
			wantErrno(t, "truncate it", os.Truncate(ro, 0), unix.EROFS)
			wantErrno(t, "chmod it", os.Chmod(ro, 0o777), unix.EROFS)
			wantErrno(t, "set an attribute of it", unix.Setxattr(ro, "user.x", nil, 0), unix.EROFS)
			wantErrno(t, "remove a file that is mounted", os.Remove(at), unix.EBUSY)
			wantContent(t, host, "host's\n")
		}
		s.umount()
		wantListing(t, s.upper)
	})
}

// TestSubpathStaysInside: whoever writes to a volume can't lead a mount out of it.
func TestSubpathStaysInside(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.data("vol", "d/f"), "f\n")
	must(t, os.Symlink("/etc", s.data("vol", "out")))
	must(t, os.Symlink("d", s.data("vol", "in")))
	s.guard()
	for subpath, c := range map[string]struct {
		code int
		word string
	}{"out": {1, "symbolic link"}, "in": {1, "symbolic link"}, "out/ssh": {1, "symbolic link"}, "none": {3, "no such"}, "../x": {2, "relative"}, "/d": {2, "relative"}} {
		s.refused(c.code, []string{subpath, c.word}, "mount", "--name", "m", "-u", s.upper, "--work", s.work,
			"--mount", "src=vol,dst=/x,volume-subpath="+subpath, s.lowers[0], s.mnt)
		if out := s.must("ls", "-aq"); out != "" {
			t.Errorf("a record is left: %q", out)
		}
	}
}

// TestVolumesFrom: the volumes of a mount, of a stopped one too, at the same paths; -v outweighs them.
func TestVolumesFrom(t *testing.T) {
	s := newSite(t, 1)
	s.mount("-v", "one:/one", "-v", "two:/two:ro", "-v", s.at("host")+":/host:ro")
	write(t, s.in("one/f"), "f\n")
	other := s.at("other")
	s.must("mount", "--name", "other", "--volumes-from", "m", "-v", "three:/two", s.lowers[0], other)
	wantContent(t, other+"/one/f", "f\n")
	write(t, other+"/two/mine", "x")
	wantContent(t, s.data("three", "mine"), "x")
	wantErrno(t, "write to what was ro there", os.WriteFile(other+"/host/x", nil, 0o644), unix.EROFS)
	s.umount()
	third := s.at("third")
	s.must("mount", "--name", "third", "--volumes-from", "m:ro", "--volumes-from", "other", s.lowers[0], third)
	write(t, third+"/one/of-the-last", "x")
	wantContent(t, s.data("one", "of-the-last"), "x")
	s.refused(4, []string{"[m, other, third]"}, "volume", "rm", "one")
	fourth := s.at("fourth")
	s.refused(3, []string{"nobody"}, "mount", "--volumes-from", "nobody", s.lowers[0], fourth)
	for _, mode := range []string{"z", "RO", "ro,z", "nocopy"} {
		s.refused(2, []string{"invalid mode: " + mode}, "mount", "--volumes-from", "m:"+mode, s.lowers[0], fourth)
	}
	s.must("mount", "--name", "fourth", "--volumes-from", "m:rw", s.lowers[0], fourth)
	write(t, fourth+"/one/of-the-fourth", "x")
	wantErrno(t, "write to what is ro there", os.WriteFile(fourth+"/two/x", nil, 0o644), unix.EROFS)
	s.must("umount", "fourth")

	// Lost data is not replaced by an empty volume without a word, as start doesn't.
	must(t, os.RemoveAll(s.root+"/volumes/two"))
	s.refused(3, []string{"get two: no such volume", "volume create two"}, "mount", "--name", "fifth", "--volumes-from", "m", s.lowers[0], fourth)
	wantAbsent(t, s.root+"/volumes/two")
	s.must("mount", "--name", "fifth", "--volumes-from", "m", "-v", "three:/two", s.lowers[0], fourth)
}

// TestEvents: what commands and daemons do is told live, and again later.
func TestEvents(t *testing.T) {
	s := newSite(t, 1)
	began := time.Now()
	cmd := command(t, suite.binary, "--root", s.root, "events", "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := make(chan string, 100)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
		close(lines)
	}()
	eventually(t, "events watches", func() bool { // it begins with what happens after it started
		s.must("volume", "create", "first")
		s.must("volume", "rm", "first")
		select {
		case <-lines:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	s.must("volume", "create", "db")
	s.mount("-v", "db:/srv")
	s.umount()
	s.must("start", "m")
	pid := s.inspect().Pid
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	s.must("rm", "m")
	s.must("volume", "rm", "db")
	s.must("volume", "prune", "-f")
	want := []string{"volume create db", "mount create m", "volume attach db", "mount start m", "mount stop m", "volume detach db",
		"volume attach db", "mount start m", "mount die m", "volume detach db", "mount destroy m", "volume destroy db", "volume prune "}
	var got []string
	for deadline := time.After(patience); len(got) < len(want); {
		select {
		case line := <-lines:
			if !strings.Contains(line, " first") {
				got = append(got, line)
			}
		case <-deadline:
			t.Fatalf("told of %q, want %q", got, want)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	must(t, cmd.Process.Signal(unix.SIGTERM))
	for range lines {
	}
	must(t, cmd.Wait())
	since := []string{"events", "--since", began.Format(time.RFC3339Nano), "--until", "0s"}
	for _, c := range []struct {
		flags []string
		n     int
	}{
		{[]string{"db"}, 6},
		{[]string{"m"}, 10},
		{[]string{"--filter", "type=mount", "--filter", "event=start"}, 2},
		{[]string{"--filter", "event=start", "--filter", "event=stop"}, 3},
		{[]string{"--filter", "volume=db", "--filter", "mount=m"}, 4},
		{[]string{"--filter", "driver=none"}, 0},
	} {
		if out := s.must(append(since, c.flags...)...); strings.Count(out, "\n") != c.n {
			t.Errorf("%v: %d lines, want %d:\n%s", c.flags, strings.Count(out, "\n"), c.n, out)
		}
	}
	if out := s.must(append(since, "db", "-f", "event=attach")...); !strings.Contains(out, " volume attach db (destination=/srv, driver=local, mount=m, read/write=true)\n") {
		t.Errorf("the line is %q", out)
	}
	if out := s.must("events", "--until", "1h"); out != "" {
		t.Errorf("without --since: %q", out)
	}
	s.refused(2, []string{"odd"}, "events", "--filter", "odd=1")
	s.refused(2, []string{"yesterday"}, "events", "--since", "yesterday")
}
