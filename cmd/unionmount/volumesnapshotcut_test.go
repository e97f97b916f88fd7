package main_test

import (
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestSnapshotWithoutRoom: a full disk in the middle of a snapshot, a restore, a copy
// or an import leaves everything as it was.
func TestSnapshotWithoutRoom(t *testing.T) {
	s := newSite(t, 1)
	s.root = s.diskImage("root-small", "48M", "mkfs.ext4", "-q")
	s.must("volume", "create", "db")
	write(t, s.data("db", "small"), "small\n")
	s.must("volume", "snapshot", "create", "db", "small")
	mustRun(t, "dd", "if=/dev/urandom", "of="+s.data("db", "big"), "bs=1M", "count=24", "status=none")
	want := s.holds("db")
	before := listing(t, s.root+"/volumes")
	s.refused(1, []string{"no space left"}, "volume", "snapshot", "create", "db", "big")
	s.refused(1, []string{"no space left"}, "volume", "create", "copy", "--from", "db")
	s.must("volume", "export", "db", "-o", s.dir+"/big.tar.zst")
	s.refused(1, []string{"nothing of it was kept", "too large"}, "volume", "import", "copy", s.dir+"/big.tar.zst")
	s.refused(1, []string{"nothing of it was kept", "no space left"}, "volume", "import", "--max-size", "1g", "copy", s.dir+"/big.tar.zst")
	s.wantHolds("db", want)
	s.noRests()
	wantListing(t, s.root+"/volumes", before...)
	if out := s.must("volume", "snapshot", "ls", "-q"); out != "db@small\n" {
		t.Errorf("snapshot ls: %q", out)
	}
	// The other way round: the snapshot is large, and the room for it is taken meanwhile.
	s.must("volume", "create", "two")
	mustRun(t, "dd", "if=/dev/urandom", "of="+s.data("two", "big"), "bs=1M", "count=1", "status=none")
	s.must("volume", "snapshot", "create", "two", "big")
	fill(t, s.data("two", "filler"))
	want = s.holds("two")
	s.refused(1, []string{"no space left"}, "volume", "restore", "two@big")
	s.wantHolds("two", want)
	must(t, os.Remove(s.data("two", "filler")))
	s.must("volume", "restore", "two@big")
	s.noRests()
}

// TestSnapshotKilled: a kill -9 in the middle leaves the old or the new, and no rests
// that the next command doesn't sweep.
func TestSnapshotKilled(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	mustShell(t, s.data("db", ""), `for i in $(seq 200); do mkdir d$i; echo old > d$i/f; head -c 20000 /dev/urandom > d$i/r; done`)
	old := s.holds("db")
	start := time.Now()
	s.must("volume", "snapshot", "create", "db", "old")
	whole := 2 * time.Since(start)
	s.must("volume", "export", "db", "-o", s.dir+"/db.tar.zst")
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewSource(seed))
	commands := [][]string{
		{"snapshot", "create", "db", "new"},
		{"restore", "db@old"},
		{"create", "copy", "--from", "db@old"},
		{"import", "copy", s.dir + "/db.tar.zst"},
		{"snapshot", "rm", "db@going"},
	}
	ended, cut, rounds := 0, 0, 20
	if long() {
		rounds = 500
	}
	wholeIfThere := func(snap string) {
		t.Helper()
		if strings.Contains(s.must("volume", "snapshot", "ls", "db", "-q"), "db@"+snap+"\n") {
			if d := differences(old, describe(t, s.root+"/volumes/db/snapshots/"+snap+"/_data", nil)); d != "" {
				t.Errorf("a snapshot that is there isn't whole:\n%s", d)
			}
			s.must("volume", "snapshot", "rm", "db@"+snap)
		}
	}
	for i := range rounds {
		args := commands[i%len(commands)]
		if args[1] == "rm" {
			s.must("volume", "snapshot", "create", "db", "going")
		}
		cmd := exec.Command(suite.binary, append([]string{"--root", s.root, "volume"}, args...)...)
		must(t, cmd.Start())
		time.Sleep(time.Duration(rng.Int63n(int64(whole))))
		_ = cmd.Process.Kill() // it may have ended
		if cmd.Wait() == nil {
			ended++
		} else {
			cut++
		}
		s.wantHolds("db", old)
		wholeIfThere("new")
		wholeIfThere("going")
		if strings.Contains(s.must("volume", "ls", "-q"), "copy") {
			s.wantHolds("copy", old)
			s.must("volume", "rm", "copy")
		}
	}
	t.Logf("%d ended, %d were cut short", ended, cut)
	s.must("volume", "snapshot", "create", "db", "last") // sweeps the volume
	out := mustRun(t, "find", s.root+"/volumes/db", "-name", ".new-*", "-o", "-name", ".restore-*", "-o", "-name", ".gone-*")
	if out != "" {
		t.Errorf("left behind:\n%s", out)
	}
	s.must("volume", "snapshot", "rm", "db@old", "db@last")
	s.must("volume", "rm", "db")
}

// TestSnapshotRemovalKilled: kill -9 of snapshot rm just before and just after its driver deleted the data leaves no
// snapshot; it was listed with no data. One that the driver refuses to delete stays, whole.
func TestSnapshotRemovalKilled(t *testing.T) {
	need(t, "btrfs")
	s := newSite(t, 1)
	s.root = s.diskImage("root-btrfs", "320M", "mkfs.btrfs", "-q")
	s.must("volume", "create", "db", "-d", "btrfs")
	write(t, s.data("db", "file"), "kept\n")
	removal := func(instead string) result {
		s.must("volume", "snapshot", "create", "db", "s1")
		return s.insteadOfDelete(instead, "volume", "snapshot", "rm", "db@s1")
	}
	for what, instead := range map[string]string{"before": "kill -9 $PPID", "after": `$BTRFS "$@"; kill -9 $PPID`} {
		if r := removal(instead); r.err == nil {
			t.Fatalf("%s: it was not killed: %s", what, r)
		}
		if out := s.must("volume", "snapshot", "ls", "-q"); out != "" {
			t.Errorf("killed %s the data was deleted: still listed: %q", what, out)
		}
		s.must("volume", "snapshot", "create", "db", "last") // sweeps the volume
		s.must("volume", "snapshot", "rm", "db@last")
		s.noRests()
	}
	checkRefusal(t, removal("echo busy >&2; exit 1"), 4, []string{"remove snapshot db@s1", "busy"}, []string{"snapshot rm"})
	wantContent(t, s.root+"/volumes/db/snapshots/s1/_data/file", "kept\n")
	s.must("volume", "snapshot", "rm", "db@s1")
	s.must("volume", "rm", "db")
	if left := mustRun(t, "btrfs", "subvolume", "list", s.root); left != "" {
		t.Errorf("subvolumes are left: %s", left)
	}
}
