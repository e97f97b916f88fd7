package model

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/worker"
	"golang.org/x/sys/unix"
)

// unkillable is a state whose server is not there to be killed; restart is what a crash does to its union.
func unkillable(t *testing.T, restart func(union string) error) Config {
	cfg := testConfig(t)
	fresh := cfg.Fresh
	cfg.Fresh = func() (*State, error) {
		s, err := fresh()
		if err == nil {
			s.Kill = func() error { return nil }
			s.Restart = func() error { return restart(s.Union) }
		}
		return s, err
	}
	return cfg
}

func TestCrashThatLosesNothing(t *testing.T) {
	cfg := unkillable(t, func(string) error { return nil })
	if err := Crash(cfg, 3, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

func TestCrashThatLosesIsFound(t *testing.T) {
	cfg := unkillable(t, func(union string) error {
		entries, err := os.ReadDir(union)
		if err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(union, entries[0].Name()))
	})
	var f *Failure
	if err := Crash(cfg, 3, 20*time.Millisecond); !errors.As(err, &f) {
		t.Fatalf("not found: %v", err)
	}
}

// TestSettle gives an operation in flight every outcome it may have, and those it may not.
func TestSettle(t *testing.T) {
	write := op.Op{Kind: op.Pwrite, Off: 2, Len: 20000, Seed: 5}
	unlink := op.Op{Kind: op.Unlink, Path: "settle"}
	half := write
	half.Len = 7000
	wrong := write
	wrong.Seed = 6
	dated := func(path string, sec, nsec int64) op.Op {
		return op.Op{Kind: op.Utimens, Path: path, Times: [2]op.Time{{Sec: 1e9}, {Sec: sec, Nsec: nsec}}}
	}
	for name, c := range map[string]struct {
		did      []op.Op // on the union
		inFlight op.Op
		ok       bool
	}{
		"nothing of a write":      {nil, write, true},
		"all of a write":          {[]op.Op{write}, write, true},
		"half of a write":         {[]op.Op{half}, write, true},
		"other bytes":             {[]op.Op{wrong}, write, false},
		"nothing of an unlink":    {nil, unlink, true},
		"all of an unlink":        {[]op.Op{unlink}, unlink, true},
		"a directory's time":      {[]op.Op{dated("settled", 0, unix.UTIME_NOW)}, unlink, true},
		"and all of an unlink":    {[]op.Op{dated("settled", 0, unix.UTIME_NOW), unlink}, unlink, true},
		"another time of one":     {[]op.Op{dated("settled", 2e9, 0)}, unlink, false},
		"a file's time":           {[]op.Op{dated("settle", 0, unix.UTIME_NOW)}, unlink, false},
		"something quite another": {[]op.Op{{Kind: op.Chmod, Path: "settle", Mode: 0o100}}, unlink, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := begin(testConfig(t).withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			open := op.Op{Kind: op.Open, Path: "settle", Flags: unix.O_CREAT | unix.O_RDWR | unix.O_EXCL, Mode: 0o600}
			for _, o := range []op.Op{open, {Kind: op.Mkdir, Path: "settled", Mode: 0o700}, dated("settled", 1e9, 0), dated("settle", 1e9, 0)} {
				if _, err := s.step(o); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range c.did {
				if _, _, err := s.workers[0].Do(o, worker.Union); err != nil {
					t.Fatal(err)
				}
			}
			err = s.settle(&c.inFlight)
			if _, found := isMismatch(err); found == c.ok {
				t.Errorf("accepted: %v, should be %v: %v", !found, c.ok, err)
			}
			if err := s.end(nil); err != nil {
				t.Error(err)
			}
		})
	}
}
