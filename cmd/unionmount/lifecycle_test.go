package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// small is a site with one lower that has one file.
func small(t *testing.T) *site {
	t.Helper()
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/file", "lower\n")
	return s
}

func TestMountAnswersOnceItReturns(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		for range 5 {
			s := small(t)
			s.mount("--io", io)
			wantContent(t, s.in("file"), "lower\n")
			if got := s.inspect(); got.IO != io || got.State != "running" {
				t.Errorf("inspect says IO %q state %q", got.IO, got.State)
			}
			s.umount()
			wantListing(t, s.mnt)
		}
	})
}

// TestMountReleasesOutput: podman reads the helper's output up to its end and waits for ever for a daemon that keeps it.
func TestMountReleasesOutput(t *testing.T) {
	s := small(t)
	cmd := command(t, suite.binary, "--root", s.root, "mount", "--name", s.name, "-u", s.upper, "--work", s.work, s.lowers[0], s.mnt)
	cmd.WaitDelay = 0 // Wait returns at the end of both pipes and not before
	if r := finish(cmd); r.code != 0 || r.err != nil {
		t.Fatal(r)
	}
	pid := s.inspect().Pid
	for _, fd := range []string{"1", "2"} {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)); strings.HasPrefix(to, "pipe:") {
			t.Errorf("the daemon's descriptor %s is still %s", fd, to)
		}
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
		t.Errorf("the daemon sits in %s and keeps it busy", cwd)
	}
}

func TestDaemonEndsWithItsMount(t *testing.T) {
	forms := map[string]func(s *site){
		"umount NAME":        func(s *site) { s.must("umount", s.name) },
		"umount MOUNTPOINT":  func(s *site) { s.must("umount", s.mnt) },
		"umount --lazy NAME": func(s *site) { s.must("umount", "--lazy", s.name) },
		"umount --all":       func(s *site) { s.must("umount", "--all") },
		"umount(8)":          func(s *site) { mustRun(s.t, "umount", s.mnt) },
		"umount(8) -l":       func(s *site) { mustRun(s.t, "umount", "-l", s.mnt) },
		"umount(8) -R":       func(s *site) { mustRun(s.t, "umount", "-R", s.mnt) },
		"fusermount3 -u":     func(s *site) { need(s.t, "fusermount3"); mustRun(s.t, "fusermount3", "-u", s.mnt) },
	}
	for _, form := range slices.Sorted(maps.Keys(forms)) {
		t.Run(form, func(t *testing.T) {
			s := small(t)
			s.mount()
			appendTo(t, s.in("file"), "more\n")
			pid := s.inspect().Pid
			forms[form](s)
			s.gone(pid)
			if m := mountsBelow(s.mnt); len(m) != 0 {
				t.Errorf("still mounted: %v", m)
			}
			if state := s.inspect().State; state != "stopped" {
				t.Errorf("state %q, want stopped", state)
			}
			wantContent(t, s.upper+"/file", "lower\nmore\n")
			s.must("start", s.name)
			wantContent(t, s.in("file"), "lower\nmore\n")
		})
	}
}

// TestUmountBusy: a mount in use stays, with exit 4; lazily it goes once its user does.
func TestUmountBusy(t *testing.T) {
	s := small(t)
	s.mount()
	pid := s.inspect().Pid
	f, err := os.Open(s.in("file"))
	must(t, err)
	defer f.Close()
	s.refused(4, []string{s.name, "busy"}, "umount", s.name)
	wantContent(t, s.in("file"), "lower\n")
	s.must("umount", "--lazy", s.name)
	buf := make([]byte, 6)
	if n, err := f.Read(buf); string(buf[:n]) != "lower\n" {
		t.Errorf("read of an open file after the lazy umount: %q, %v", buf[:n], err)
	}
	f.Close()
	s.gone(pid)
}

func TestStartKeepsWhatMountSaid(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := small(t)
		host := s.dir + "/host"
		mkdir(t, host)
		s.mount("-v", "data:/vol", "-v", host+":/host:ro")
		write(t, s.in("new"), "upper\n")
		before := s.inspect()
		s.umount()
		other := s.dir + "/other"
		mkdir(t, other)
		s.must("start", s.name, other)
		wantContent(t, other+"/new", "upper\n")
		after := s.inspect()
		if after.Mountpoint != other {
			t.Errorf("started at %s, want %s", after.Mountpoint, other)
		}
		before.Pid, before.StartedAt, before.Mountpoint = after.Pid, after.StartedAt, after.Mountpoint
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("after start:\n%+v\nwant\n%+v", after, before)
		}
	})
}

func TestInspectKeys(t *testing.T) {
	s := small(t)
	s.mount("-v", "data:/vol")
	var printed []map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(s.must("inspect", s.name)), &printed))
	wantKeys := func(what string, got map[string]json.RawMessage, want ...string) {
		slices.Sort(want)
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
			t.Errorf("%s has the keys %v, want %v", what, keys, want)
		}
	}
	wantKeys("inspect", printed[0], "Name", "State", "Pid", "StartedAt", "Mountpoint", "Layers", "Upper", "Work", "ReadOnly", "IO", "Volumes")
	var volumes []map[string]json.RawMessage
	must(t, json.Unmarshal(printed[0]["Volumes"], &volumes))
	wantKeys("a volume", volumes[0], "Name", "Driver", "Source", "Destination", "RW", "IO")
	got := s.inspect()
	if got.Upper != s.upper || got.Work != s.work || got.Mountpoint != s.mnt || !slices.Equal(got.Layers, s.lowers) || got.ReadOnly {
		t.Errorf("inspect: %+v", got)
	}
	v := got.Volumes[0]
	if v.Name != "data" || v.Driver != "local" || v.Destination != "/vol" || !v.RW || v.Source != s.root+"/volumes/data/_data" {
		t.Errorf("inspect's volume: %+v", v)
	}
}

func TestListForms(t *testing.T) {
	s := small(t)
	s.mount()
	if out := s.must("ls", "-q"); out != "m\n" {
		t.Errorf("ls -q: %q", out)
	}
	if out := s.must("ls", "--format", "{{.Name}} {{.State}} {{.Mountpoint}}"); out != "m running "+s.mnt+"\n" {
		t.Errorf("ls --format TEMPLATE: %q", out)
	}
	var line map[string]any
	out := s.must("ls", "--format", "json")
	if err := json.Unmarshal([]byte(out), &line); err != nil || strings.Count(out, "\n") != 1 || line["Name"] != "m" {
		t.Errorf("ls --format json: %q: %v", out, err)
	}
	table := strings.Split(s.must("ls"), "\n")
	if want := []string{"NAME", "STATE", "PID", "MOUNTPOINT", "LAYERS", "VOLUMES"}; !slices.Equal(strings.Fields(table[0]), want) {
		t.Errorf("ls's head is %q, want %v", table[0], want)
	}
	s.umount()
	if out := s.must("ls", "-q"); out != "" {
		t.Errorf("ls -q lists the stopped mount: %q", out)
	}
	if out := s.must("ls", "-a", "--format", "{{.State}}"); out != "stopped\n" {
		t.Errorf("ls -a of a stopped mount: %q", out)
	}
}

func TestExitCodes(t *testing.T) {
	s := small(t)
	s.mount()
	s.refused(2, nil, "mount", "--no-such-flag", s.lowers[0], s.mnt)
	s.refused(2, nil, "mount", s.mnt)
	s.refused(2, nil, "no-such-command")
	for _, c := range []string{"umount", "start", "inspect", "rm", "diff"} {
		s.refused(3, []string{"nobody"}, c, "nobody")
	}
	s.refused(4, []string{"m"}, "rm", "m")
	s.refused(4, []string{"m"}, "start", "m")
	other := s.dir + "/other"
	mkdir(t, other)
	s.refused(4, []string{"m"}, "mount", "--name", "m", s.lowers[0], other)
}

func TestKilledDaemon(t *testing.T) {
	kill := func(t *testing.T) *site {
		s := small(t)
		s.mount("-v", "data:/vol")
		write(t, s.in("new"), "upper\n")
		write(t, s.in("vol/file"), "volume\n")
		pid := s.inspect().Pid
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		if out := s.must("ls", "-a", "--format", "{{.Name}} {{.State}}"); out != "m dead\n" {
			t.Errorf("ls after kill -9: %q", out)
		}
		return s
	}
	t.Run("umount clears it up", func(t *testing.T) {
		s := kill(t)
		s.must("umount", s.name)
		if m := mountsBelow(s.mnt); len(m) != 0 {
			t.Errorf("still mounted: %v", m)
		}
		if state := s.inspect().State; state != "stopped" {
			t.Errorf("state %q, want stopped", state)
		}
	})
	t.Run("start clears it up", func(t *testing.T) {
		s := kill(t)
		s.must("start", s.name)
		wantContent(t, s.in("file"), "lower\n")
		wantContent(t, s.in("new"), "upper\n")
		wantContent(t, s.in("vol/file"), "volume\n")
	})
	t.Run("prune removes it", func(t *testing.T) {
		s := kill(t)
		s.must("prune", "-f")
		if out := s.must("ls", "-aq"); out != "" {
			t.Errorf("ls -aq after prune: %q", out)
		}
		if m := mountsBelow(s.mnt); len(m) != 0 {
			t.Errorf("still mounted: %v", m)
		}
		wantContent(t, s.upper+"/new", "upper\n")
	})
}

func TestTwentyCommandsAtOnce(t *testing.T) {
	s := small(t)
	s.mount()
	var all sync.WaitGroup
	results := make([]result, 20)
	for i := range results {
		args := [][]string{{"ls", "-a"}, {"inspect", "m"}, nil, {"info"}}[i%4]
		if args == nil {
			at := s.dir + "/at" + strconv.Itoa(i)
			mkdir(t, at)
			args = []string{"mount", "--name", "n" + strconv.Itoa(i), s.lowers[0], at}
		}
		cmd := command(t, suite.binary, append([]string{"--root", s.root}, args...)...)
		all.Go(func() { results[i] = finish(cmd) })
	}
	all.Wait()
	for i, r := range results {
		if r.code != 0 || r.err != nil {
			t.Errorf("command %d: %s", i, r)
		}
	}
	if n := len(strings.Fields(s.must("ls", "-q"))); n != 6 {
		t.Errorf("%d mounts, want 6", n)
	}
}

func TestUpperOfAKernelOverlay(t *testing.T) {
	s := small(t)
	at := s.dir + "/kernel"
	s.kernelOverlay(at)
	s.refused(4, []string{s.upper, at}, "mount", "-u", s.upper, "--work", s.work, s.lowers[0], s.mnt)
	unmount(t, at)
	s.mount()
}

func TestReadOnlyMount(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := small(t)
		s.guard()
		s.must("mount", "--name", s.name, "-r", "--volume-io", way, "-v", "data:/vol", s.lowers[0], s.mnt)
		wantErrno(t, "create", os.WriteFile(s.in("new"), nil, 0o644), unix.EROFS)
		wantErrno(t, "write", os.WriteFile(s.in("file"), nil, 0o644), unix.EROFS)
		wantErrno(t, "mkdir", os.Mkdir(s.in("dir"), 0o755), unix.EROFS)
		wantErrno(t, "unlink", unix.Unlink(s.in("file")), unix.EROFS)
		wantErrno(t, "chmod", unix.Chmod(s.in("file"), 0o600), unix.EROFS)
		wantErrno(t, "rename", unix.Rename(s.in("file"), s.in("file2")), unix.EROFS)
		write(t, s.in("vol/file"), "volumes stay writable\n")
		wantContent(t, s.root+"/volumes/data/_data/file", "volumes stay writable\n")
		if got := s.inspect(); !got.ReadOnly || got.Upper != "" {
			t.Errorf("inspect: %+v", got)
		}
	})
}

func TestForeground(t *testing.T) {
	s := small(t)
	cmd := command(t, suite.binary, "--root", s.root, "mount", "-f", "--name", s.name, "-u", s.upper, "--work", s.work, s.lowers[0], s.mnt)
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "the mount answers", func() bool { _, err := os.Stat(s.in("file")); return err == nil })
	if pid := s.inspect().Pid; pid != cmd.Process.Pid {
		t.Errorf("served by %d, want the command itself, %d", pid, cmd.Process.Pid)
	}
	mustRun(t, "umount", s.mnt)
	if err := <-ended; err != nil {
		t.Errorf("mount -f ended with %v", err)
	}
}

// TestForegroundEndsBySignal: SIGTERM and SIGINT unmount.
func TestForegroundEndsBySignal(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		s := small(t)
		cmd := command(t, suite.binary, "--root", s.root, "mount", "-f", "--name", s.name, "-u", s.upper, "--work", s.work, s.lowers[0], s.mnt)
		must(t, cmd.Start())
		eventually(t, "the mount answers", func() bool { _, err := os.Stat(s.in("file")); return err == nil })
		must(t, cmd.Process.Signal(sig))
		err := cmd.Wait()
		if _, killed := err.(*exec.ExitError); killed && cmd.ProcessState.ExitCode() < 0 {
			t.Errorf("%v killed it: %v", sig, err)
		}
		if m := mountsBelow(s.mnt); len(m) != 0 {
			t.Errorf("still mounted after %v: %v", sig, m)
		}
	}
}

// TestStartWithoutItsUpper: an upper of ours that is gone, or that a killed mount never made, is named with the remedy.
func TestStartWithoutItsUpper(t *testing.T) {
	s := small(t)
	s.must("mount", "--name", "m", s.lowers[0], s.mnt)
	s.must("umount", "m")
	upper := s.root + "/mounts/m/upper"
	must(t, os.RemoveAll(upper))
	s.refused(3, []string{upper, "unionmount rm m"}, "start", "m")
	wantAbsent(t, upper)
	s.must("rm", "m")
	s.must("mount", "--name", "m", s.lowers[0], s.mnt)
}
