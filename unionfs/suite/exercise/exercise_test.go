package exercise

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func testFile(t *testing.T) Config {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 50_000), 0o644); err != nil {
		t.Fatal(err)
	}
	return Config{Path: path, Steps: 4000, Seed: time.Now().UnixNano(), Remount: func() error { return nil }}
}

func TestPlainFile(t *testing.T) {
	if err := Run(testFile(t)); err != nil {
		t.Fatal(err)
	}
}

// TestLostStepIsFound loses every step from the 100th on: one step may be one that changes nothing.
func TestLostStepIsFound(t *testing.T) {
	cfg := testFile(t)
	cfg.drop = func(step int) bool { return step >= 100 && step < 110 }
	err := Run(cfg)
	if err == nil {
		t.Fatal("not found")
	}
	t.Log(err)
}

// TestStaleViewIsFound exchanges the file for a copy: the old descriptor then shows another one, as a descriptor of a
// lower file does that did not follow the copy-up.
func TestStaleViewIsFound(t *testing.T) {
	cfg := testFile(t)
	cfg.Remount = nil
	exchanged := false
	cfg.drop = func(step int) bool {
		if step >= 50 && !exchanged {
			exchanged = true
			data, err := os.ReadFile(cfg.Path)
			if err == nil {
				err = os.Remove(cfg.Path)
			}
			if err == nil {
				err = os.WriteFile(cfg.Path, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return false
	}
	if err := Run(cfg); err == nil {
		t.Fatal("not found")
	}
}
