package model

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

// plainState lets a second plain copy play the union.
func plainState(t *testing.T, tops ...string) func() (*State, error) {
	return func() (*State, error) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			return nil, err
		}
		layers, err := startree.Layers(dir, 3, 7, startree.Options{Root: os.Geteuid() == 0, ACL: true, Tops: tops})
		if err != nil {
			return nil, err
		}
		s := &State{Union: filepath.Join(dir, "union"), Plain: filepath.Join(dir, "plain")}
		s.Remount = func() error { return nil }
		s.Close = func() error { return os.RemoveAll(dir) }
		if err := startree.Flatten(layers, s.Union); err != nil {
			return nil, err
		}
		return s, startree.Flatten(layers, s.Plain)
	}
}

func testConfig(t *testing.T) Config {
	return Config{
		Fresh: plainState(t), Seed: time.Now().UnixNano(), Ops: 8000, Root: os.Geteuid() == 0, ACL: true,
		Atimes: true, Log: t.Logf,
	}
}

func TestTwoPlainDirectoriesAgree(t *testing.T) {
	if err := Run(testConfig(t)); err != nil {
		t.Fatal(err)
	}
}

// TestLostOperationIsFound drops one operation of a kind on the union's side: the model must see it, and shrink it.
func TestLostOperationIsFound(t *testing.T) {
	for _, kind := range []op.Kind{op.Chmod, op.Pwrite, op.Rename, op.Utimens, op.Setxattr} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := testConfig(t)
			cfg.CompareEvery, cfg.ShrinkFor = 100, 2*time.Second
			seen := 0
			cfg.drop = func(o op.Op) bool {
				if o.Kind == kind {
					seen++
				}
				return o.Kind == kind && seen > 5
			}
			var f *Failure
			if err := Run(cfg); !errors.As(err, &f) {
				t.Fatalf("a lost %s was not found: %v", kind, err)
			}
			if len(f.Shrunk) == 0 || len(f.Shrunk) > 20 {
				t.Errorf("shrunk to %d operations: %v", len(f.Shrunk), f)
			}
		})
	}
}
