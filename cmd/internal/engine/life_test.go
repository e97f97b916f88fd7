package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestMain lets the test binary be the daemon that these tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == DaemonArg {
		os.Exit(Daemon())
	}
	os.Exit(m.Run())
}

// stack makes an engine of its own and a request for a mount; whatever a test
// leaves mounted goes with it.
func stack(t *testing.T) (*Engine, Request) {
	t.Helper()
	if !sys.HasCap(sys.CAP_SYS_ADMIN) {
		suite.Absent(t, "needs to mount")
	}
	if _, err := os.Stat(fuseDevice); err != nil {
		suite.Absent(t, "no "+fuseDevice)
	}
	dir := fixture(t)
	e := &Engine{Root: dir + "/home/root"}
	t.Cleanup(func() {
		all, err := e.List(true)
		if err != nil {
			t.Error(err)
		}
		for _, m := range all {
			if err := e.Umount(m.Name, true); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			if _, _, err := e.awaitState(m.Name, patienceEnd, func(kind string, _ *State) bool { return kind != Running }); err != nil {
				t.Error(err)
			}
		}
	})
	return e, Request{Name: "m", Layers: []string{dir + "/l1", dir + "/l2"}, Mountpoint: dir + "/mnt", VolumeIO: WayFuse}
}

func mounted(t *testing.T, dir string) (targets []string) {
	t.Helper()
	mounts, err := mountTable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if _, ok := below(m.Target, dir); ok {
			targets = append(targets, m.Target)
		}
	}
	slices.Sort(targets)
	return targets
}

func mustMount(t *testing.T, e *Engine, q Request) *Info {
	t.Helper()
	var info *Info
	if err := e.Mount(q, func(i *Info) { info = i }); err != nil {
		t.Fatal(err)
	}
	return info
}

// TestRefusedUmountBindsAgain: of two bound volumes one is busy. The other must
// not stay unbound: two connections that append through their routes would lose data.
func TestRefusedUmountBindsAgain(t *testing.T) {
	e, q := stack(t)
	q.VolumeIO, q.Volumes = WayBind, []string{"db:/db", "lg:/log:ro"}
	mustMount(t, e, q)
	all := mounted(t, q.Mountpoint)
	if len(all) != 3 {
		t.Fatalf("mounted: %v", all)
	}
	for _, busy := range []string{"/db", "/log", ""} {
		f, err := os.Open(q.Mountpoint + busy)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Umount("m", false); !errors.Is(err, ErrConflict) {
			t.Errorf("umount with %q open: %v", busy, err)
		}
		if now := mounted(t, q.Mountpoint); !slices.Equal(now, all) {
			t.Errorf("mounted after the refusal: %v, before: %v", now, all)
		}
		if err := os.WriteFile(q.Mountpoint+"/log/x", nil, 0o600); !errors.Is(err, sys.EROFS) {
			t.Errorf("write to the read-only volume: %v", err)
		}
		f.Close()
	}
	if err := e.Umount("m", false); err != nil {
		t.Error(err)
	}
	if left := mounted(t, q.Mountpoint); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}

// TestUmountOfACoveredMount: the mountpoint names the mount on top, which isn't ours to take away.
func TestUmountOfACoveredMount(t *testing.T) {
	e, q := stack(t)
	lower := mustMount(t, e, q)
	q.Name = "over"
	mustMount(t, e, q)
	if err := e.Umount(lower.Name, false); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "covers it") {
		t.Errorf("umount of the covered mount: %v", err)
	}
	if i, err := e.Inspect(q.Mountpoint); err != nil || i.Name != "over" || i.State != Running {
		t.Errorf("the mount at %s is %+v, %v", q.Mountpoint, i, err)
	}
	for _, name := range []string{"over", lower.Name} {
		if err := e.Umount(name, false); err != nil {
			t.Error(err)
		}
	}
}

// TestNamesDrawnAtTheSameTime: no command may fail because another drew the same name.
func TestNamesDrawnAtTheSameTime(t *testing.T) {
	e, q := stack(t)
	q.Name = ""
	var wg sync.WaitGroup
	for i := range 12 {
		at := filepath.Join(filepath.Dir(q.Mountpoint), fmt.Sprint("at", i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			mine := q
			mine.Mountpoint = at
			if err := e.Mount(mine, func(*Info) {}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := e.List(true); err != nil || len(all) != 12 {
		t.Errorf("%d mounts, %v", len(all), err)
	}
}

// TestFailedMountLeavesNothing: what is found out only when the daemon attaches
// undoes all that was made before.
func TestFailedMountLeavesNothing(t *testing.T) {
	e, q := stack(t)
	dir := filepath.Dir(q.Mountpoint)
	if err := os.WriteFile(dir+"/l1/plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir+"/home/root/volumes")
	q.Volumes = []string{"new:/sub", "new2:/plain/below"} // a file is in the way
	if err := e.Mount(q, func(*Info) {}); err == nil {
		t.Fatal("mounted")
	}
	if err := os.Remove(dir + "/home/root/volumes/.locks"); err != nil { // empty
		t.Error(err)
	}
	if after := listing(t, dir+"/home/root/volumes"); after != before {
		t.Errorf("volumes:\n%s\nwere\n%s", after, before)
	}
	if left := mounted(t, q.Mountpoint); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if _, err := e.Inspect("m"); !errors.Is(err, ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	for _, kept := range []string{"mounts", "run", "log"} {
		if names, err := os.ReadDir(filepath.Join(e.Root, kept)); err != nil && !errors.Is(err, os.ErrNotExist) || len(names) > 0 {
			t.Errorf("left in %s: %v, %v", kept, names, err)
		}
	}
}
