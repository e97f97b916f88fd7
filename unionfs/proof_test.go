package unionfs_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite/exercise"
	"github.com/unionmount/unionmount/unionfs/suite/model"
)

// long says whether the tests run at full length (make test-long).
func long() bool { return os.Getenv("UNIONMOUNT_LONG") != "" }

// number reads a test's size or seed from the environment.
func number(name string, def int64) int64 {
	if n, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return def
}

// size is how much a suite does in all its worlds together, at short and at full length. LONG_PART divides the full
// length: the race detector gets a tenth of what runs without it.
func size(short, full int) int {
	if !long() {
		return int(number("OPS", int64(short)))
	}
	return int(number("OPS", int64(full)/number("LONG_PART", 1)))
}

// times is how often a suite does something costly; LONG_PART divides as it does in size.
func times(name string, short, full int) int {
	if long() {
		short = full / int(number("LONG_PART", 1))
	}
	return int(number(name, int64(short)))
}

// seed is SEED, or always the same, so that a change is blamed for what it did;
// the long tests draw another each time. Every suite prints it when it fails.
func seed(t *testing.T) int64 {
	def := int64(20261124)
	if long() {
		def = time.Now().UnixNano()
	}
	s := number("SEED", def)
	t.Logf("seed %d", s)
	return s
}

// share is this world's part of a suite's length: the union gets most of it.
func (w world) share(all int) int {
	if w.user || w.way != "" {
		return all / 10
	}
	return all * 70 / 100 / len(connections())
}

// TestLayerCounts: whatever the seed, a run of a suite in all worlds has each number of layers from 1 to 8.
func TestLayerCounts(t *testing.T) {
	for seed := range int64(20) {
		seen := map[int]bool{}
		for _, w := range worlds() {
			seen[w.layers(seed)] = true
		}
		for n := 1; n <= 8; n++ {
			if !seen[n] || len(seen) != 8 {
				t.Errorf("seed %d: %v layers", seed, seen)
			}
		}
	}
}

func TestModel(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		seed := seed(t)
		cfg := w.run(w.state(t, w.layers(seed), seed), seed)
		cfg.Ops, cfg.Log, cfg.Atimes = w.share(size(100_000, 10_000_000)), t.Logf, os.Getenv("ATIMES") != ""
		if long() {
			cfg.CompareEvery = 20_000
		}
		if err := model.Run(cfg); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConcurrent(t *testing.T) {
	eachWorld(t, concurrent)
}

func concurrent(t *testing.T, w world) {
	seed := seed(t)
	cfg := w.run(w.state(t, w.layers(seed), seed, model.Tops(4)...), seed)
	cfg.Workers, cfg.Log = 4, t.Logf
	cfg.Ops = w.share(size(10_000, 200_000))
	if err := model.Concurrent(cfg); err != nil {
		t.Fatal(err)
	}
}

// TestCrash kills the daemon again and again. A volume bound by the kernel doesn't need it.
func TestCrash(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		if w.way == "bind" {
			return
		}
		seed := seed(t)
		cfg := w.run(w.state(t, w.layers(seed), seed), seed)
		cfg.Log = t.Logf
		if err := model.Crash(cfg, times("KILLS", 10, 75), 300*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	})
}

// TestExercise changes one file, which must be the user's: whose the others are makes no difference.
func TestExercise(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		if w.user && w.whose != his {
			return
		}
		seed := seed(t)
		w.file = "exercised"
		s, err := w.state(t, 1, seed)()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		cfg := exercise.Config{Path: s.Union + "/" + w.file, Steps: w.share(size(100_000, 10_000_000)), Seed: seed, Remount: asRoot(s.Remount)}
		if s.Look == nil {
			err = exercise.Run(cfg)
		} else {
			s.Look(func() { err = exercise.Run(cfg) })
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// asRoot runs do in another thread than the caller's, which may be the plain user.
func asRoot(do func() error) func() error {
	return func() error {
		done := make(chan error)
		go func() { done <- do() }()
		return <-done
	}
}

// TestChownOfNothing: chown(-1, -1) changes no owner and takes setuid and setgid away.
func TestChownOfNothing(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			lower, upper, work := dirs(t)
			if err := unix.Mknod(lower+"/file", unix.S_IFREG|0o755, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(lower+"/file", 0o6755); err != nil {
				t.Fatal(err)
			}
			m := mountUnion(t, c.config(unionfs.Config{Lowers: []string{lower}, Upper: upper, Work: work}))
			if err := unix.Chown(m+"/file", -1, -1); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(m+"/file", &st); err != nil || st.Mode&0o7777 != 0o755 {
				t.Errorf("mode %o, %v", st.Mode, err)
			}
		})
	}
}
