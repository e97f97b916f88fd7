package main_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copiedLiveOnly: a volume that the holder may be writing to is neither restored nor
// taken for one that stands still.
func (s *site) copiedLiveOnly(volume, holder string) {
	s.t.Helper()
	words := []string{"in use - [" + holder}
	s.refused(4, append(words, "--live"), "volume", "snapshot", "create", volume, "snap")
	s.refused(4, append(words, "--live"), "volume", "create", "copy", "--from", volume)
	s.refused(4, words, "volume", "import", volume, "/dev/null")
	s.must("volume", "snapshot", "create", "--live", volume, "snap")
	if out := s.must("volume", "snapshot", "ls", volume, "--format", "{{.PointInTime}}"); out != "false\n" {
		s.t.Errorf("PointInTime of a copy while %s has it: %q", holder, out)
	}
	s.refused(4, words, "volume", "restore", volume+"@snap")
	if r := s.cli("volume", "export", volume, "-o", s.dir+"/of.tar.zst"); r.code != 0 || !strings.Contains(r.stderr, "no point in time") {
		s.t.Errorf("an export while %s has it: %s", holder, r)
	}
	s.must("volume", "snapshot", "rm", volume+"@snap")
}

// TestCopiesUnderADeadMount: what runs on a bind mount outlives the daemon, and goes on
// writing. Until the umount the volume was taken for one that nobody has.
func TestCopiesUnderADeadMount(t *testing.T) {
	s := volumeSite(t, "bind", "db:/srv/db")
	s.must("volume", "create", "other")
	f, err := os.Create(s.in("srv/db/f"))
	must(t, err)
	pid := s.inspect().Pid
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	s.copiedLiveOnly("db", "m")
	s.must("volume", "snapshot", "create", "other", "snap") // the mount hasn't that one
	_, err = f.WriteString("after the kill\n")
	must(t, errors.Join(err, f.Close()))
	wantContent(t, s.data("db", "f"), "after the kill\n")
	s.must("umount", "m")
	s.must("volume", "snapshot", "create", "db", "snap")
	s.must("volume", "restore", "db@snap")
	s.noRests()
}

// lastClientGoes from a server that is started again: nothing is mounted any more.
func (s *site) lastClientGoes(socket string) {
	s.t.Helper()
	s.serve(socket)
	if status, answer := ask(s.t, socket, "VolumeDriver.Unmount", `{"Name":"mem","ID":"c1"}`); status != 200 {
		s.t.Error(answer)
	}
	if m := mountsBelow(s.root); len(m) > 0 {
		s.t.Errorf("still mounted: %v", m)
	}
}

// TestLiveCopyOfWhatAKilledServerMounted: the file system that a client of the server
// has still is copied; it isn't unmounted as nobody's, and mounted anew, empty.
func TestLiveCopyOfWhatAKilledServerMounted(t *testing.T) {
	s, socket := killedServer(t)
	s.refused(4, []string{"in use - [plugin.c1"}, "volume", "snapshot", "create", "mem", "snap")
	s.must("volume", "create", "copy", "-d", "local", "--live", "--from", "mem")
	wantContent(t, s.data("copy", "file"), "in memory\n")
	wantContent(t, s.data("mem", "file"), "in memory\n")
	s.lastClientGoes(socket)
}

// TestKilledMountKeepsItsFilesystem: the file system in memory that a killed daemon had is
// the one that others get, and the mount itself once it is started again. They got a
// second, empty one, while what ran on the bind went on with the first.
func TestKilledMountKeepsItsFilesystem(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		s.must("volume", "create", "mem", "-o", "type=tmpfs", "-o", "device=tmpfs")
		s.mountVolumes(way, "mem:/mem")
		write(t, s.in("mem/file"), "in memory\n")
		kill := func() {
			pid := s.inspect().Pid
			must(t, unix.Kill(pid, unix.SIGKILL))
			s.gone(pid)
		}
		kill()
		s.must("volume", "ls")
		other := s.mountAt("other", "mem:/other")
		wantContent(t, other+"/other/file", "in memory\n")
		write(t, other+"/other/file", "by other\n")
		s.must("umount", "other")
		s.refused(4, []string{"in use - [m"}, "volume", "rm", "-f", "mem")
		s.must("start", "m")
		wantContent(t, s.in("mem/file"), "by other\n")
		if leases, _ := filepath.Glob(s.root + "/volumes/*/leases/*"); len(leases) != 1 {
			t.Errorf("leases: %v", leases)
		}
		kill()
		s.forget(s.lowers[0])
		must(t, os.Rename(s.lowers[0], s.lowers[0]+".away"))
		s.refused(1, []string{s.lowers[0]}, "start", "m") // it failed when the dead mount was cleared up
		if m := mountsBelow(s.root); len(m) > 0 {
			t.Errorf("still mounted after a start that failed: %v", m)
		}
		must(t, os.Rename(s.lowers[0]+".away", s.lowers[0]))
		s.must("rm", "m", "other")
		s.must("volume", "rm", "mem")
	})
}

// TestKilledServerKeepsItsFilesystem: a mount that comes while no server runs has the file
// system that the server's client has, and doesn't take it away when it goes.
func TestKilledServerKeepsItsFilesystem(t *testing.T) {
	s, socket := killedServer(t)
	s.lowers = []string{s.dir + "/lower0"}
	mkdir(t, s.lowers[0])
	at := s.mountAt("m", "mem:/mem")
	wantContent(t, at+"/mem/file", "in memory\n")
	s.must("umount", "m")
	s.must("rm", "m")
	wantContent(t, s.data("mem", "file"), "in memory\n")
	s.lastClientGoes(socket)
	s.must("volume", "rm", "mem")
}

// TestExportLeavesTheVolumeUsable: an archive may take hours. A mount that came
// meanwhile waited for the volume's name, and failed after five minutes.
func TestExportLeavesTheVolumeUsable(t *testing.T) {
	need(t, "btrfs")
	s := newSite(t, 1)
	s.root = s.diskImage("root-btrfs", "320M", "mkfs.btrfs", "-q")
	s.must("volume", "create", "db", "-d", "btrfs")
	mustRun(t, "dd", "if=/dev/urandom", "of="+s.data("db", "f"), "bs=1M", "count=16", "status=none")
	export := command(t, suite.binary, "--root", s.root, "volume", "export", "db")
	archive, err := export.StdoutPipe()
	must(t, err)
	must(t, export.Start())
	_, err = io.CopyN(io.Discard, archive, 1<<16) // it is at it, and waits for its reader
	must(t, err)
	began := time.Now()
	mnt := s.mountAt("user", "db:/db")
	must(t, os.Remove(mnt+"/db/f"))
	s.must("umount", "user")
	s.must("rm", "user")
	if took := time.Since(began); took > patience {
		t.Errorf("a mount waited for the export: %v", took)
	}
	s.refused(4, []string{"in use - [copy."}, "volume", "rm", "-f", "db")
	s.must("volume", "snapshot", "create", "db", "s1")
	s.must("volume", "snapshot", "rm", "db@s1")
	size, err := io.Copy(io.Discard, archive)
	must(t, errors.Join(err, export.Wait()))
	if size < 15<<20 { // all that was there when it began
		t.Errorf("the rest of the archive has %d bytes", size)
	}
	s.noRests()
	s.must("volume", "rm", "db")
	if out := mustRun(t, "btrfs", "subvolume", "list", s.root); out != "" {
		t.Errorf("subvolumes are left:\n%s", out)
	}
}
