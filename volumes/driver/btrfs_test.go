package driver

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// btrfsRoot mounts a new btrfs.
func btrfsRoot(t *testing.T) (dir string) {
	t.Helper()
	needRoot(t, "losetup", "mkfs.btrfs", "btrfs")
	v, d := created(t, Local, map[string]string{"type": "btrfs", "device": disk(t, "mkfs.btrfs", "-q")})
	unmounted(t, d)
	mounted(t, d)
	return v.data()
}

// in a directory of its own below root.
func on(t *testing.T, root, name string, options map[string]string) Volume {
	t.Helper()
	must(t, os.Mkdir(in(root, name), 0o701))
	return Volume{Name: name, Driver: Btrfs, Dir: in(root, name), Options: options}
}

func TestBtrfsLife(t *testing.T) {
	root := btrfsRoot(t)
	v := on(t, root, "db", map[string]string{"o": "uid=12,mode=0750"})
	d := open(t, v)
	must(t, d.Create(t.Context()))
	if is, err := subvolume(v.data()); err != nil || !is {
		t.Fatalf("no subvolume: %v", err)
	}
	st, err := os.Stat(v.data())
	if err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("the data directory: %v, %v", st, err)
	}
	file := in(mounted(t, d), "file")
	must(t, os.WriteFile(file, []byte("before"), 0o644))

	shot, ok := d.(Snapshotter)
	if !ok || !strings.Contains(shot.Method().Name, "btrfs") {
		t.Fatalf("no Snapshotter: %v", d)
	}
	frozen := on(t, root, "frozen", nil)
	must(t, taken(t, shot, &frozen, true))
	must(t, os.WriteFile(file, []byte("after"), 0o644))
	if text, err := os.ReadFile(in(frozen.data(), "file")); string(text) != "before" {
		t.Errorf("the snapshot has %q, %v", text, err)
	}
	if err := os.WriteFile(in(frozen.data(), "file"), nil, 0o644); err == nil {
		t.Error("the snapshot was written to")
	}

	clone := on(t, root, "clone", nil)
	must(t, taken(t, open(t, frozen).(Snapshotter), &clone, false))
	must(t, os.WriteFile(in(clone.data(), "own"), []byte("x"), 0o644))
	if text, err := os.ReadFile(in(clone.data(), "file")); string(text) != "before" {
		t.Errorf("the clone has %q, %v", text, err)
	}
	if st, err := os.Stat(clone.data()); err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("the clone's root: %v, %v", st, err)
	}
	for _, v := range []Volume{v, frozen, clone, clone} { // the last once more
		must(t, open(t, v).Remove(t.Context()))
		if _, err := os.Lstat(v.data()); err == nil {
			t.Errorf("%s is still there", v.data())
		}
	}
}

// taken makes to hold what the volume of from holds.
func taken(t *testing.T, from Snapshotter, to *Volume, readOnly bool) (err error) {
	t.Helper()
	if to.Options, err = from.Plan(t.Context(), *to, readOnly); err != nil {
		return err
	}
	return from.Snapshot(t.Context(), *to, readOnly)
}

// TestBtrfsSize: without quotas the remedy is named and nothing left; with them
// the volume is full in time, and so is its clone.
func TestBtrfsSize(t *testing.T) {
	root := btrfsRoot(t)
	options := map[string]string{"size": "8m"}
	v := on(t, root, "v", options)
	d := open(t, v)
	if err := d.Create(t.Context()); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "btrfs quota enable "+root) {
		t.Errorf("without quotas: %v", err)
	}
	if _, err := os.Lstat(v.data()); err == nil {
		t.Error("the refused volume is there")
	}
	runCommand(t, "btrfs", "quota", "enable", root)
	must(t, d.Create(t.Context()))
	clone := on(t, root, "clone", nil)
	must(t, taken(t, d.(Snapshotter), &clone, false))
	for _, v := range []Volume{v, clone} {
		if v.Options["size"] != "8m" {
			t.Errorf("%s: options %v", v.Name, v.Options)
		}
		file, err := os.Create(in(v.data(), "file"))
		must(t, err)
		var n int
		for n = 0; n < 16; n++ {
			if _, err = file.Write(make([]byte, 1<<20)); err == nil {
				err = file.Sync()
			}
			if err != nil {
				break
			}
		}
		if n < 4 || n > 8 {
			t.Errorf("%s: full after %d MiB: %v", v.Name, n, err)
		}
		_ = file.Close()
		must(t, open(t, v).Remove(context.Background()))
	}
}

func TestBtrfsRefusals(t *testing.T) {
	if onBtrfs(t.TempDir()) == nil {
		t.Skip("the tests' directory is on btrfs")
	}
	v := Volume{Name: "v", Driver: Btrfs, Dir: t.TempDir()}
	if err := open(t, v).Create(t.Context()); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "not on btrfs") {
		t.Errorf("Create elsewhere = %v", err)
	}
	must(t, os.Mkdir(v.data(), 0o755))
	must(t, open(t, v).Remove(t.Context())) // a tree of the caller's
	for key, value := range map[string]string{"type": "btrfs", "device": "/dev/x", "o": "ro", "size": "x"} {
		v.Options = map[string]string{key: value}
		if _, err := Open(v); !errors.Is(err, ErrBadOption) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}

// TestBtrfsNested: subvolumes that the user made inside are named, not deleted.
func TestBtrfsNested(t *testing.T) {
	root := btrfsRoot(t)
	v := on(t, root, "v", nil)
	d := open(t, v)
	must(t, d.Create(t.Context()))
	inner := in(v.data(), "inner")
	runCommand(t, "btrfs", "subvolume", "create", inner)
	if err := d.Remove(t.Context()); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "subvolume list") {
		t.Errorf("Remove = %v", err)
	}
	runCommand(t, "btrfs", "subvolume", "delete", inner)
	must(t, d.Remove(t.Context()))
}
