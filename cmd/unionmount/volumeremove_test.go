package main_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// insteadOfDelete runs the binary where `btrfs subvolume delete` is a line of sh. In it, $BTRFS is the real
// btrfs, and $PPID the binary.
func (s *site) insteadOfDelete(line string, args ...string) result {
	s.t.Helper()
	real, err := exec.LookPath("btrfs")
	must(s.t, err)
	must(s.t, os.MkdirAll(s.dir+"/bin", 0o755))
	script := "#!/bin/sh\nBTRFS=" + real + "\n[ \"$2\" = delete ] || exec $BTRFS \"$@\"\n" + line + "\n"
	must(s.t, os.WriteFile(s.dir+"/bin/btrfs", []byte(script), 0o755))
	cmd := command(s.t, suite.binary, append([]string{"--root", s.root}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+s.dir+"/bin:"+os.Getenv("PATH"))
	return finish(cmd)
}

// TestVolumeRemovalKilled: kill -9 of volume rm just before and just after its driver deleted the data leaves no
// volume; it was listed with no data. The next rm ends it, and takes nothing of a new one of the name.
func TestVolumeRemovalKilled(t *testing.T) {
	need(t, "btrfs")
	s := newSite(t, 1)
	s.root = s.diskImage("root-btrfs", "320M", "mkfs.btrfs", "-q")
	s.must("volume", "create", "other")
	for what, line := range map[string]string{"before": "kill -9 $PPID", "after": `$BTRFS "$@"; kill -9 $PPID`} {
		s.must("volume", "create", "db", "-d", "btrfs", "--label", "k=old")
		write(t, s.data("db", "file"), "old\n")
		if r := s.insteadOfDelete(line, "volume", "rm", "db"); r.err == nil {
			t.Fatalf("%s: it was not killed: %s", what, r)
		}
		if out := s.must("volume", "ls", "-q"); out != "other\n" {
			t.Errorf("killed %s the data was deleted: listed %q", what, out)
		}
		s.must("volume", "create", "db", "-d", "btrfs", "--label", "k=new")
		write(t, s.data("db", "file"), "new\n")
		s.must("volume", "rm", "other")
		s.noRests()
		wantContent(t, s.data("db", "file"), "new\n")
		if list := mustRun(t, "btrfs", "subvolume", "list", s.root); strings.Count(list, "\n") != 1 {
			t.Errorf("killed %s the data was deleted: the next rm left subvolumes:\n%s", what, list)
		}
		s.must("volume", "rm", "db")
		s.must("volume", "create", "other")
	}
}

// TestVolumeRemovalRefused: a volume that its driver refuses to delete stays, whole.
func TestVolumeRemovalRefused(t *testing.T) {
	need(t, "btrfs")
	s := newSite(t, 1)
	s.root = s.diskImage("root-btrfs", "320M", "mkfs.btrfs", "-q")
	s.must("volume", "create", "db", "-d", "btrfs", "--label", "k=v")
	write(t, s.data("db", "file"), "kept\n")
	mustRun(t, "btrfs", "-q", "subvolume", "create", s.data("db", "inner"))
	s.refused(4, []string{"remove db", "subvolume list"}, "volume", "rm", "db")
	s.refused(4, []string{"remove db", "subvolume list"}, "volume", "rm", "-f", "db")
	wantContent(t, s.data("db", "file"), "kept\n")
	if got := s.volumes("-f", "label=k=v"); len(got) != 1 {
		t.Errorf("volumes: %v", got)
	}
	s.noRests()
	mustRun(t, "btrfs", "-q", "subvolume", "delete", s.data("db", "inner"))
	s.must("volume", "rm", "db")
	wantListing(t, s.root+"/volumes", ".locks")
}
