package unionfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite/exercise"
	"github.com/unionmount/unionmount/unionfs/suite/model"
	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

// number reads a test's size or seed from the environment.
func number(name string, def int64) int64 {
	if n, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return def
}

// seed is SEED, or always the same, so that a change is blamed for what it did;
// the long tests draw another each time. Every suite prints it when it fails.
func seed() int64 {
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		return number("SEED", time.Now().UnixNano())
	}
	return number("SEED", 20261124)
}

// proofState mounts a union of layers made from the seed beside its plain copy. Closing it checks that the layers
// are what they were.
func proofState(t *testing.T, c connection, layers int, seed int64, tops ...string) func() (*model.State, error) {
	return func() (*model.State, error) {
		dir := t.TempDir()
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			return nil, err
		}
		lower := filepath.Join(dir, "lower")
		at := map[string]string{}
		for _, sub := range []string{"lower", "upper", "work", "mnt"} {
			at[sub] = filepath.Join(dir, sub)
			if err := os.Mkdir(at[sub], 0o755); err != nil {
				return nil, err
			}
		}
		opt := startree.Options{Root: true, ACL: true, Tops: tops, Marks: startree.Kernel | startree.UserXattr | startree.OCI}
		opt.Marks = startree.Kernel
		dirs, err := startree.Layers(lower, layers, seed, opt)
		if err != nil {
			return nil, err
		}
		plain := filepath.Join(dir, "plain")
		if err := startree.Flatten(dirs, plain); err != nil {
			return nil, err
		}
		if err := sameRoot(dirs[0], at["upper"]); err != nil {
			return nil, err
		}
		before, err := treehash.Hash(lower, treehash.Options{Atime: true, Nlink: true})
		if err != nil {
			return nil, err
		}
		d := &daemon{
			Config:     c.config(unionfs.Config{Lowers: dirs, Upper: at["upper"], Work: at["work"]}),
			Mountpoint: at["mnt"],
		}
		s := &model.State{Union: at["mnt"], Plain: plain, Kill: d.kill, Restart: d.restart}
		s.Remount = func() error { return errors.Join(d.stop(), d.start()) }
		s.Close = func() error {
			err := d.stop()
			after, e := treehash.Hash(lower, treehash.Options{Atime: true, Nlink: true})
			if e != nil {
				return e
			}
			if diff := treehash.Diff(before, after); diff != nil {
				err = errors.Join(err, fmt.Errorf("lower layers changed: %s", strings.Join(diff, "\n")))
			}
			return errors.Join(err, os.RemoveAll(dir))
		}
		return s, d.start()
	}
}

// sameRoot gives an upper the attributes of the layer below: the union's root has the upper's.
func sameRoot(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	for _, name := range []string{"user.a", "trusted.a", "system.posix_acl_access", "system.posix_acl_default"} {
		buf := make([]byte, 4096)
		if n, err := unix.Getxattr(from, name, buf); err == nil {
			if err := unix.Setxattr(to, name, buf[:n], 0); err != nil {
				return err
			}
		}
	}
	if err := os.Chmod(to, os.FileMode(st.Mode&0o777)); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// allowed leaves out chown(-1, -1): before a file with capabilities is written the
// kernel sends the same two requests as for it, so one of the two must deviate
// (docs/semantics.md). TestChownOfNothing covers it without capabilities.
func allowed(o op.Op) bool {
	chown := o.Kind == op.Chown || o.Kind == op.Fchown || o.Kind == op.Lchown
	return !chown || o.UID >= 0 || o.GID >= 0
}

// users are root alone, or with USERS set root and two others.
func users() []*syscall.Credential {
	if os.Getenv("USERS") == "" {
		return nil
	}
	return []*syscall.Credential{nil, {Uid: 1000, Gid: 1000}, {Uid: 1001, Gid: 1001, Groups: []uint32{1000}}}
}

func TestModel(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			seed := seed()
			cfg := model.Config{
				Credentials: users(), Atimes: os.Getenv("ATIMES") != "",
				Fresh: proofState(t, c, 1+int(seed%8), seed), Seed: seed, Ops: int(number("OPS", 50_000)), Root: true, ACL: true, Allow: allowed, Log: t.Logf,
			}
			if err := model.Run(cfg); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestConcurrent(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			seed := seed()
			cfg := model.Config{
				Fresh: proofState(t, c, 3, seed, model.Tops(4)...), Seed: seed, Ops: int(number("OPS", 5_000)), Workers: 4,
				Root: true, ACL: true, Allow: allowed, Log: t.Logf,
			}
			if err := model.Concurrent(cfg); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCrash(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			seed := seed()
			cfg := model.Config{Fresh: proofState(t, c, 3, seed), Seed: seed, Root: true, ACL: true, Allow: allowed, Log: t.Logf}
			if err := model.Crash(cfg, int(number("KILLS", 20)), 300*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestExercise(t *testing.T) {
	for _, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			lower, upper, work := dirs(t)
			if err := os.WriteFile(lower+"/file", make([]byte, 100_000), 0o644); err != nil {
				t.Fatal(err)
			}
			d := &daemon{Config: c.config(unionfs.Config{Lowers: []string{lower}, Upper: upper, Work: work}), Mountpoint: t.TempDir()}
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			err := exercise.Run(exercise.Config{
				Path: d.Mountpoint + "/file", Steps: int(number("OPS", 50_000)), Seed: seed(),
				Remount: func() error { return errors.Join(d.stop(), d.start()) },
			})
			if err := errors.Join(err, d.stop()); err != nil {
				t.Fatal(err)
			}
		})
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
