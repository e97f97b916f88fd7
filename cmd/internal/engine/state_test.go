package engine

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestLeaseIsTheState(t *testing.T) {
	e := &Engine{Root: t.TempDir()}
	want := func(kind string) *State {
		t.Helper()
		got, s, err := e.state("m")
		if err != nil || got != kind {
			t.Fatalf("state %s, %v; want %s", got, err, kind)
		}
		return s
	}
	want(Stopped)
	l, err := e.hold("m")
	if err != nil {
		t.Fatal(err)
	}
	if s := want(Running); s != nil {
		t.Errorf("words before any were said: %+v", s)
	}
	s := &State{Version: version, Record: Record{Name: "m"}, Binds: []int{100, 200}, Ready: true}
	if err := l.announce(s); err != nil {
		t.Fatal(err)
	}
	s.Binds = []int{1, 2}
	if err := s.amend(l.path); err != nil {
		t.Fatal(err)
	}
	if got := want(Running); got == nil || len(got.Binds) != 2 || got.Binds[0] != 1 || !got.Ready {
		t.Errorf("announced and amended: %+v", got)
	}
	if err := l.file.Close(); err != nil { // as a kill does
		t.Fatal(err)
	}
	want(Dead)
	if l, err = e.hold("m"); err != nil {
		t.Fatal(err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	want(Stopped)
}

// TestHoldSurvivesRelease: whoever waited for the lock of a file that was removed
// then must not believe to have it.
func TestHoldSurvivesRelease(t *testing.T) {
	e := &Engine{Root: t.TempDir()}
	for range 50 {
		first, err := e.hold("m")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan *lease)
		go func() {
			l, err := e.hold("m")
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		time.Sleep(time.Millisecond)
		if err := first.release(); err != nil {
			t.Fatal(err)
		}
		second := <-got
		if kind, _, err := e.state("m"); err != nil || kind != Running {
			t.Fatalf("state %s, %v with the lease held", kind, err)
		}
		if err := second.release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerVersionsAreRefused(t *testing.T) {
	e := &Engine{Root: t.TempDir()}
	if err := e.write(&Record{Version: version + 1, Name: "m"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.load("m"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("load: %v", err)
	}
	l, err := e.hold("n")
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	if err := l.announce(&State{Version: version + 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.state("n"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("state: %v", err)
	}
}

// TestFailedMountLeavesOthersVolumes: undoing a mount must not take a volume that
// another mount refers to by now, or that has data.
func TestFailedMountLeavesOthersVolumes(t *testing.T) {
	e := &Engine{Root: t.TempDir()}
	for _, name := range []string{"free", "used", "full"} {
		if _, err := e.CreateVolume(NewVolume{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.save(&Record{Version: version, Name: "m", Volumes: []VolumeRef{{Name: "used"}}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.volumes().Mountpoint("full")+"/data", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.dropNew("n", []string{"free", "used", "full"}); err != nil {
		t.Fatal(err)
	}
	all, err := e.Volumes(VolumeQuery{})
	if err != nil || len(all) != 2 || all[0].Name != "full" || all[1].Name != "used" {
		t.Errorf("left: %+v, %v", all, err)
	}
	if err := e.RemoveVolume("used", true); !errors.Is(err, ErrConflict) || err.Error() != "volume used: remove used: volume is in use - [m]" {
		t.Errorf("rm of a used volume: %v", err)
	}
}
