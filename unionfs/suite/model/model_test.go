package model

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

// plainState lets a second plain copy play the union.
func plainState(t *testing.T, tops ...string) func() (*State, error) {
	return func() (*State, error) {
		dir := t.TempDir()
		for _, d := range []string{dir, filepath.Dir(dir)} { // workers may be other users
			if err := os.Chmod(d, 0o755); err != nil {
				return nil, err
			}
		}
		layers, err := startree.Layers(dir, 3, 7, startree.Options{Root: os.Geteuid() == 0, ACL: true, Tops: tops})
		if err != nil {
			return nil, err
		}
		s := &State{Union: filepath.Join(dir, "union"), Plain: filepath.Join(dir, "plain")}
		s.Remount = func() error { return nil }
		s.Close = func() error { return startree.Remove(dir) }
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
			cfg.CompareEvery, cfg.ShrinkFor = 100, -1
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
		})
	}
}

// TestShrinking loses every mkdir of one mode. Of a long sequence that mkdir should be left, or little more.
func TestShrinking(t *testing.T) {
	cfg := testConfig(t)
	cfg.Seed, cfg.CompareEvery, cfg.ShrinkFor = 5, 500, 4*time.Second
	cfg.drop = func(o op.Op) bool { return o.Kind == op.Mkdir && o.Mode == 0o711 }
	var f *Failure
	if err := Run(cfg); !errors.As(err, &f) {
		t.Fatalf("not found: %v", err)
	}
	if len(f.Shrunk) == 0 || len(f.Shrunk) > f.Index/4 {
		t.Errorf("%d operations shrunk to %d: %v", f.Index, len(f.Shrunk), f)
	}
}

// TestLostNumberIsFound exchanges an object of the union for a copy, which has another inode number.
func TestLostNumberIsFound(t *testing.T) {
	cfg := testConfig(t)
	cfg.RemountEvery, cfg.ShrinkFor = 500, -1
	fresh := cfg.Fresh
	cfg.Fresh = func() (*State, error) {
		s, err := fresh()
		if err == nil {
			s.Remount = func() error { return exchangeForCopy(s.Union) }
		}
		return s, err
	}
	var f *Failure
	if err := Run(cfg); !errors.As(err, &f) || !strings.Contains(f.Error(), "st_ino") {
		t.Fatalf("not found: %v", err)
	}
}

// exchangeForCopy copies the tree and puts the copy in its place: all is as it was, but not the numbers.
func exchangeForCopy(root string) error {
	if err := startree.Flatten([]string{root}, root+".copy"); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	return os.Rename(root+".copy", root)
}

// TestSeveralUsersAgree lets users without privileges meet what others own: refusals must be equal too.
func TestSeveralUsersAgree(t *testing.T) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "only root can start workers as others")
	}
	cfg := testConfig(t)
	cfg.Ops, cfg.Atimes = 4000, false
	cfg.Credentials = []*syscall.Credential{nil, {Uid: 1000, Gid: 1000}, {Uid: 1001, Gid: 1001, Groups: []uint32{1000}}}
	if err := Run(cfg); err != nil {
		t.Fatal(err)
	}
}
