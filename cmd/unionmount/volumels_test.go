package main_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manyVolumes makes roots with 10 and with 10,000 volumes. Each function runs its command for both, and
// returns the processors' time that it took: what else runs on the machine delays the one more than the other.
func manyVolumes(t *testing.T) (ls []func(more int) time.Duration, do []func(args ...string)) {
	t.Helper()
	s := newSite(t, 1)
	binary := plainBinary(t)
	for _, n := range []int{10, 10_000} {
		root := s.at(fmt.Sprint("root", n))
		for k := range n {
			dir := fmt.Sprintf("%s/volumes/vol%05d", root, k)
			mkdir(t, dir+"/_data")
			write(t, dir+"/options.json", `{"version": 1, "driver": "local", "createdAt": "2026-01-01T00:00:00Z", "labels": {"k": "v"}}`)
		}
		do = append(do, func(args ...string) { mustRun(t, binary, append([]string{"--root", root, "volume"}, args...)...) })
		ls = append(ls, func(more int) time.Duration {
			cmd := command(t, binary, "--root", root, "volume", "ls")
			out, err := cmd.Output()
			if err != nil || strings.Count(string(out), "\n") != n+1+more {
				t.Fatalf("%d lines, want %d: %v", strings.Count(string(out), "\n"), n+1+more, err)
			}
			return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		})
		ls[len(ls)-1](0) // finds them
	}
	time.Sleep(50 * time.Millisecond) // the directory's time is past
	return ls, do
}

// wantRatio compares the least of some runs with 10 and with 10,000 volumes; of more runs, as long as noise may be what is too much.
func wantRatio(t *testing.T, limit time.Duration, run func(i int) time.Duration) {
	t.Helper()
	took := []time.Duration{run(0), run(1)}
	for n := 0; n < 15 || n < 60 && took[1] > limit*took[0]; n++ {
		for i := range took {
			took[i] = min(took[i], run(i))
		}
	}
	t.Logf("10: %v, 10,000: %v", took[0], took[1])
	if took[1] > limit*took[0] {
		t.Errorf("10,000 volumes take %v, 10 take %v", took[1], took[0])
	}
}

// TestLsOfManyVolumes: 10,000 volumes are listed within three times the time of 10.
func TestLsOfManyVolumes(t *testing.T) {
	ls, _ := manyVolumes(t)
	ls[0](0)
	ls[1](0)
	wantRatio(t, 3, func(i int) time.Duration { return ls[i](0) })
}

// TestLsOfManyVolumesAfterCreate: right after a volume was made the names are read and compared as well, a fourth part
// again. The database was read then, and every volume's directory looked at: twelve times the time of 10.
func TestLsOfManyVolumesAfterCreate(t *testing.T) {
	ls, do := manyVolumes(t)
	wantRatio(t, 4, func(i int) time.Duration {
		do[i]("create", "new")
		took := ls[i](1)
		do[i]("rm", "new")
		return took
	})
}

// TestLsIsOfWhatIsThere: whatever changed since the list of all volumes was written, by commands or by hand.
func TestLsIsOfWhatIsThere(t *testing.T) {
	s := newSite(t, 1)
	listed := func(what string, want ...string) {
		t.Helper()
		for range 2 { // the second finds what the first wrote
			if got := s.volumes("-f", "label=k"); !slices.Equal(got, want) {
				t.Errorf("%s: listed %v, want %v", what, got, want)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, name := range []string{"bb", "dd", "ff"} {
		s.must("volume", "create", name, "--label", "k=v")
	}
	listed("made", "bb", "dd", "ff")
	s.must("volume", "rm", "dd")
	s.must("volume", "create", "dd", "--label", "other=v")
	listed("another of the name", "bb", "ff")
	s.must("volume", "prune", "-af", "--filter", "label=other")
	s.must("volume", "create", "dd", "--label", "k=v")
	listed("pruned, and another of the name", "bb", "dd", "ff")
	mustRun(t, "cp", "-a", s.root+"/volumes/bb", s.root+"/volumes/cc")
	listed("copied by hand", "bb", "cc", "dd", "ff")
	must(t, os.RemoveAll(s.root+"/volumes/bb"))
	listed("removed by hand", "cc", "dd", "ff")
	list, err := os.ReadFile(s.root + "/volumes.list")
	must(t, err)
	for _, cut := range []int{0, 10, 64, 70, bytes.LastIndex(list, []byte("ff")) + 2, len(list) - 1} {
		must(t, os.WriteFile(s.root+"/volumes.list", list[:cut], 0o600))
		listed(fmt.Sprint("the list is cut at ", cut), "cc", "dd", "ff")
	}
	for i := range 100 { // more than are read one by one
		mkdir(t, fmt.Sprintf("%s/volumes/hand%d/_data", s.root, i))
	}
	listed("many more", "cc", "dd", "ff")
	if n := len(s.volumes()); n != 103 {
		t.Errorf("%d volumes", n)
	}
	write(t, s.root+"/volumes/bad/options.json", "garbage")
	for range 2 {
		s.refused(1, []string{"bad", "untouched"}, "volume", "ls", "-q")
		time.Sleep(50 * time.Millisecond)
	}
}

// TestLsOfWhatKilledCommandsMade: one was killed when the name was gone, the other when it was another
// volume's: the list had the old one's labels.
func TestLsOfWhatKilledCommandsMade(t *testing.T) {
	for _, removal := range [][]string{{"rm", "vol"}, {"prune", "-f", "-a", "--filter", "label=k=old"}} {
		s := newSite(t, 1)
		s.must("volume", "create", "aa")
		s.must("volume", "create", "vol", "--label", "k=old")
		s.volumes()
		for _, args := range [][]string{removal, {"create", "vol", "--label", "k=new"}} {
			lock, err := os.OpenFile(s.root+"/catalog.lock", os.O_RDWR|os.O_CREATE, 0o600)
			must(t, err)
			must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
			cmd := command(t, suite.binary, append([]string{"--root", s.root, "volume"}, args...)...)
			must(t, cmd.Start())
			eventually(t, args[0]+" is at the database", func() bool {
				_, err := os.Stat(s.root + "/volumes/vol")
				return (err == nil) == (args[0] == "create")
			})
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			must(t, lock.Close())
		}
		if got := s.volumes("-f", "label=k=new"); !slices.Equal(got, []string{"vol"}) {
			t.Errorf("listed after %v: %v", removal, got)
		}
	}
}
