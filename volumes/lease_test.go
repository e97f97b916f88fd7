package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func attach(t *testing.T, s *Store, volume, mount string) *Lease {
	t.Helper()
	l, _, err := s.Attach(context.Background(), volume, []Use{{Mount: mount, Pid: os.Getpid(), Since: time.Now(), Path: "/x"}},
		func(*Data) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLeaseComesBeforeWhatItHolds: a kill while a volume is being filled leaves a
// lease, by which what the driver mounted is found.
func TestLeaseComesBeforeWhatItHolds(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	mustCreate(t, s, "db")
	failed := errors.New("failed")
	_, _, err := s.Attach(ctx, "db", []Use{{Mount: "one"}}, func(*Data) error {
		if uses, err := s.Uses("db"); err != nil || len(uses) != 1 || uses[0].Mount != "one" {
			t.Errorf("uses while it is filled: %+v, %v", uses, err)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("attach: %v", err)
	}
	if left := names(t, filepath.Join(s.dir, "db", leasesDir)); len(left) != 0 {
		t.Errorf("leases after a failure: %v", left)
	}
}

func TestLeaseHoldsAVolume(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	mustCreate(t, s, "db")
	one, two := attach(t, s, "db", "one"), attach(t, s, "db", "two")
	if uses, err := s.Uses("db"); err != nil || len(uses) != 2 || uses[0].Mount != "one" || uses[0].Pid != os.Getpid() || uses[1].Path != "/x" {
		t.Errorf("uses: %+v, %v", uses, err)
	}
	if err := remove(s, "db"); !errors.Is(err, ErrConflict) || err.Error() != "remove db: volume is in use - [one, two]" {
		t.Errorf("remove: %v", err)
	}
	if _, _, err := s.Attach(ctx, "db", []Use{{Mount: "one"}}, func(*Data) error { return nil }); !errors.Is(err, ErrConflict) {
		t.Errorf("a second lease of one mount: %v", err)
	}
	if err := one.Release(ctx); err != nil {
		t.Error(err)
	}
	if err := two.file.Close(); err != nil { // as a kill does
		t.Error(err)
	}
	if uses, err := s.Uses("db"); err != nil || len(uses) != 0 {
		t.Errorf("uses of the dead: %+v, %v", uses, err)
	}
	if left := names(t, filepath.Join(s.dir, "db", leasesDir)); len(left) != 1 {
		t.Errorf("leases before the sweep: %v", left)
	}
	if err := s.Sweep(ctx, "db"); err != nil {
		t.Error(err)
	}
	if left := names(t, filepath.Join(s.dir, "db", leasesDir)); len(left) != 0 {
		t.Errorf("leases after the sweep: %v", left)
	}
	if last, err := s.LastUsed("db"); err != nil || len(last) != 2 || last[0].Mount != "two" {
		t.Errorf("last used: %+v, %v", last, err)
	}
	if err := remove(s, "db"); err != nil {
		t.Error(err)
	}
}

// TestOutlivedLeaseHolds: a holder was killed, but what he had is used still. His lease
// stands for that until it isn't, or until he takes the volume again.
func TestOutlivedLeaseHolds(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	holders := []Holder{{Mount: "one"}}
	s.Leaseless = func(string) ([]Holder, error) { return holders, nil }
	mustCreate(t, s, "db")
	kill := func() {
		if err := attach(t, s, "db", "one").file.Close(); err != nil {
			t.Error(err)
		}
	}
	left := func() int { return len(names(t, filepath.Join(s.dir, "db", leasesDir))) }
	kill()
	if err := s.Sweep(ctx, "db"); err != nil || left() != 1 {
		t.Errorf("leases after the sweep: %d, %v", left(), err)
	}
	if err := remove(s, "db"); !errors.Is(err, ErrConflict) || err.Error() != "remove db: volume is in use - [one]" {
		t.Errorf("remove: %v", err)
	}
	two, _, err := s.Attach(ctx, "db", []Use{{Mount: "two"}}, func(d *Data) error {
		if !d.Others {
			t.Error("the killed one isn't seen by the next")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Release(ctx); err != nil || left() != 1 {
		t.Errorf("leases after two: %d, %v", left(), err)
	}
	kill() // it took it again
	holders = nil
	if err := s.Sweep(ctx, "db"); err != nil || left() != 0 {
		t.Errorf("leases at the end: %d, %v", left(), err)
	}
}

func TestLastUsedIsBounded(t *testing.T) {
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	for i := range lastUsed + 3 {
		l := attach(t, s, "db", "m"+strings.Repeat("x", i))
		if err := l.Release(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	last, err := s.LastUsed("db")
	if err != nil || len(last) != lastUsed || len(last[0].Mount) != lastUsed+3 {
		t.Errorf("last used: %+v, %v", last, err)
	}
}

// TestFailedAttachHoldsNothing: neither a lease nor a use is left.
func TestFailedAttachHoldsNothing(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	mustCreate(t, s, "db")
	_, _, err := s.Attach(ctx, "db", []Use{{Mount: "m"}}, func(*Data) error { return os.ErrInvalid })
	if !errors.Is(err, os.ErrInvalid) {
		t.Errorf("Attach: %v", err)
	}
	if last, err := s.LastUsed("db"); err != nil || len(last) != 0 {
		t.Errorf("last used: %+v, %v", last, err)
	}
	if _, _, err := s.Attach(ctx, "none", []Use{{Mount: "m"}}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("Attach of no volume: %v", err)
	}
	if err := remove(s, "db"); err != nil {
		t.Error(err)
	}
}

// TestLastTenMounts: they are ten, however many paths each has the volume at.
func TestLastTenMounts(t *testing.T) {
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	since := time.Now()
	for i := range 12 {
		at := since.Add(time.Duration(i) * time.Second)
		uses := []Use{{Mount: "m", Since: at, Path: "/a"}, {Mount: "m", Since: at, Path: "/b"}, {Mount: "m", Since: at, Path: "/c"}}
		l, _, err := s.Attach(t.Context(), "db", uses, func(*Data) error { return nil })
		if err == nil {
			err = l.Release(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	last, err := s.LastUsed("db")
	if err != nil || len(last) != 30 {
		t.Fatalf("%d uses, %v", len(last), err)
	}
	if first, tenth := last[0].Since, last[29].Since; !first.Equal(since.Add(11*time.Second)) || !tenth.Equal(since.Add(2*time.Second)) {
		t.Errorf("from %v to %v", first, tenth)
	}
}
