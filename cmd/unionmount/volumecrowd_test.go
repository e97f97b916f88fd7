package main_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/volumes/catalog"
)

// crowd is many processes at work on a few volumes.
type crowd struct {
	s    *site
	end  time.Time
	mu   sync.Mutex
	kept map[string][]string // volumes that nobody removes: the lines that were written to each; guarded by mu

	killed int // daemons; guarded by mu
}

// member does one thing after another until the end.
func (c *crowd) member(id int, draw *rand.Rand) {
	s := c.s
	at := s.at(fmt.Sprint("at", id))
	for n := 0; time.Now().Before(c.end); n++ {
		volume := fmt.Sprintf("vol%d", draw.IntN(6))
		switch draw.IntN(8) {
		case 0:
			c.allowed(s.cli("volume", "create", volume))
		case 1:
			c.allowed(s.cli("volume", "rm", volume), 3, 4)
		case 2:
			c.allowed(s.cli("volume", "prune", "-f", "-a", "--filter", "label!=keep"), 4)
		case 3:
			c.allowed(s.cli("volume", "ls", "-q"))
		case 4:
			c.snapshot(volume, fmt.Sprintf("s%d", draw.IntN(3)))
		case 5:
			c.snapshot(fmt.Sprintf("kept%d", id%3), fmt.Sprintf("s%d", id))
		default:
			c.use(id, n, volume, at, draw.IntN(4) == 0)
		}
	}
}

// snapshot takes a snapshot, goes back to it where nobody uses the volume and it may
// lose lines, makes a volume of it, and removes it.
func (c *crowd) snapshot(volume, name string) {
	s, id := c.s, volume+"@"+name
	c.allowed(s.cli("volume", "snapshot", "create", "--live", volume, name), 3, 4)
	if strings.HasPrefix(volume, "vol") {
		c.allowed(s.cli("volume", "restore", id), 3, 4)
	}
	if c.allowed(s.cli("volume", "create", "from-"+volume, "--from", id), 3, 4) {
		c.allowed(s.cli("volume", "rm", "from-"+volume), 3, 4)
	}
	c.allowed(s.cli("volume", "snapshot", "rm", id), 3, 4)
}

func (c *crowd) allowed(r result, codes ...int) bool {
	if r.code != 0 && !slices.Contains(codes, r.code) || strings.Contains(r.stderr, "panic") {
		c.s.t.Error(r)
	}
	return r.code == 0
}

// use mounts with three volumes: one that others remove, one that nobody does, an anonymous one. kill: the
// daemon has no end of its own. What was written to a volume is there all the same.
func (c *crowd) use(id, n int, volume, at string, kill bool) {
	s, t := c.s, c.s.t
	kept := fmt.Sprintf("kept%d", id%3)
	name := fmt.Sprintf("m%d-%d", id, n)
	if !c.allowed(s.cli("mount", "--name", name, "-v", volume+":/v", "-v", kept+":/k", "-v", "/a", s.lowers[0], at), 3) {
		return // removed between its making and its attaching: refused, nothing is left
	}
	line := fmt.Sprintf("%s %d\n", name, n)
	for dir, host := range map[string]string{"/v": volume, "/k": kept} {
		f, err := os.OpenFile(at+dir+"/lines", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(line)
			f.Close()
		}
		if err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(s.data(host, "lines")); err != nil || !strings.Contains(string(text), line) {
			t.Errorf("volume %s lacks the line of %s, which has it attached: %v", host, name, err)
		}
	}
	c.mu.Lock()
	c.kept[kept] = append(c.kept[kept], line)
	c.mu.Unlock()
	if kill {
		c.kill(name)
	}
	c.allowed(s.cli("umount", name))
	c.allowed(s.cli("rm", "-v", name))
}

// kill ends a daemon with kill -9.
func (c *crowd) kill(name string) {
	pid, err := strconv.Atoi(strings.TrimSpace(c.s.cli("inspect", "--format", "{{.Pid}}", name).stdout))
	if err == nil {
		err = unix.Kill(pid, unix.SIGKILL)
	}
	if err != nil {
		c.s.t.Errorf("kill the daemon of %s: %v", name, err)
		return
	}
	for end := time.Now().Add(patience); !ended(pid) && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	c.mu.Lock()
	c.killed++
	c.mu.Unlock()
}

// leases are those that are left, once the next use of their volumes has ended what a
// killed daemon had and its umount didn't wait for.
func (s *site) leases() []string {
	s.t.Helper()
	left, _ := filepath.Glob(s.root + "/volumes/*/leases/*")
	for _, path := range left {
		volume := filepath.Base(filepath.Dir(filepath.Dir(path)))
		s.must("volume", "snapshot", "create", volume, "next-use")
		s.must("volume", "snapshot", "rm", volume+"@next-use")
	}
	left, _ = filepath.Glob(s.root + "/volumes/*/leases/*")
	return left
}

// records names what the database has of a kind, as no command shows it: every listing
// mends what is wrong there first.
func (s *site) records(kind string) (names []string) {
	s.t.Helper()
	rebuild := func(catalog.Tx) error { return errors.New("there is none, or it is broken") }
	err := catalog.Update(s.root, rebuild, func(tx catalog.Tx) error {
		return tx.Each(kind, func(name string, _ []byte) error {
			names = append(names, name)
			return nil
		})
	})
	if err != nil {
		s.t.Errorf("the database: %v", err)
	}
	return names
}

// recorded: the database has these, and no others.
func (s *site) recorded(kind string, want ...string) {
	s.t.Helper()
	if got := s.records(kind); !slices.Equal(got, want) {
		s.t.Errorf("the database has %ss %v, want %v", kind, got, want)
	}
}

// directories names those of volumes.
func (s *site) directories() (names []string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.root + "/volumes")
	must(s.t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestCrowd: 50 processes create, attach, detach, remove, prune (named volumes too) and snapshot at
// random, and kill daemons. At the end database, directories and leases agree, and nothing is lost.
func TestCrowd(t *testing.T) {
	s := newSite(t, 1)
	s.guard()
	for i := range 3 {
		s.must("volume", "create", fmt.Sprint("kept", i), "--label", "keep")
	}
	length := 10 * time.Second
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		length = time.Minute
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &crowd{s: s, end: time.Now().Add(length), kept: make(map[string][]string)}
	var wg sync.WaitGroup
	for id := range 50 {
		wg.Go(func() { c.member(id, rand.New(rand.NewPCG(seed, uint64(id)))) })
	}
	wg.Wait()
	dirs := s.directories()
	if recorded := s.records("volume"); !slices.Equal(recorded, dirs) {
		t.Errorf("the database has %v, the directories are %v", recorded, dirs)
	}
	if recorded := s.records("mount"); len(recorded) > 0 {
		t.Errorf("the database has mounts: %v", recorded)
	}
	if out := s.must("ls", "-aq"); out != "" {
		t.Errorf("mounts are left: %q", out)
	}
	listed := s.volumes()
	if !slices.Equal(listed, dirs) {
		t.Errorf("listed %v, the directories are %v", listed, dirs)
	}
	s.must("volume", "recover")
	if again := s.volumes(); !slices.Equal(listed, again) {
		t.Errorf("recover gives %v, before %v", again, listed)
	}
	if leases := s.leases(); len(leases) > 0 {
		t.Errorf("leases are left: %v", leases)
	}
	s.noRests()
	written := 0
	for volume, lines := range c.kept {
		text, err := os.ReadFile(s.data(volume, "lines"))
		must(t, err)
		for _, line := range lines {
			written++
			if !strings.Contains(string(text), line) {
				t.Errorf("%s lost %q", volume, line)
			}
		}
	}
	t.Logf("%d mounts, %d daemons killed", written, c.killed)
	if written == 0 || c.killed == 0 {
		t.Error("nobody mounted anything, or no daemon was killed")
	}
}

// TestKilledCommands: volume create and rm are killed at any instant. The next
// command works, what is listed is what is there, and other volumes' data stays.
func TestKilledCommands(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.data("data", "row"), "row\n")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	for range 25 {
		for _, args := range [][]string{{"volume", "create", "vol", "--label", "k=v"}, {"volume", "ls"}, {"volume", "rm", "vol"}} {
			cmd := command(t, suite.binary, append([]string{"--root", s.root}, args...)...)
			must(t, cmd.Start())
			time.Sleep(time.Duration(draw.IntN(60)) * time.Millisecond)
			unix.Kill(cmd.Process.Pid, unix.SIGKILL)
			cmd.Wait()
		}
		listed := s.volumes()
		if len(listed) == 0 || listed[0] != "data" {
			t.Fatalf("volumes: %v", listed)
		}
		_, err := os.Stat(s.root + "/volumes/vol")
		if there := err == nil; there != slices.Contains(listed, "vol") {
			t.Fatalf("listed %v, the directory: %v", listed, err)
		}
		if slices.Contains(listed, "vol") && s.volume("vol").Labels["k"] != "v" {
			t.Fatal("a half-made volume shows")
		}
	}
	s.must("volume", "rm", "-f", "vol")
	s.must("volume", "create", "last")
	if recorded := s.records("volume"); !slices.Contains(recorded, "last") { // whatever was killed before
		t.Errorf("the database has %v: not what was made last", recorded)
	}
	s.must("volume", "prune", "-f")
	if recorded, dirs := s.records("volume"), s.directories(); !slices.Equal(recorded, dirs) {
		t.Errorf("the database has %v, the directories are %v", recorded, dirs)
	}
	if gone, _ := filepath.Glob(s.root + "/volumes/.gone-*"); len(gone) > 0 {
		t.Errorf("prune left %v", gone)
	}
	wantContent(t, s.data("data", "row"), "row\n")
}
