package driver

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/unionmount/unionmount/layers/sys"
)

// btrfs keeps the data in a subvolume: snapshots and clones share its extents.
type btrfs struct {
	Volume
	size  int64 // of the subvolume's quota group; 0: no limit
	owner owner
}

func openBtrfs(v Volume) (Driver, error) {
	for _, key := range slices.Sorted(maps.Keys(v.Options)) {
		if key != "size" && key != "o" {
			return nil, fail(ErrBadOption, "invalid option: %q: the btrfs driver takes size and o=uid=,gid=,mode=", key)
		}
	}
	w := splitWords(v.Options["o"])
	if rest := w.without("uid", "gid", "mode"); len(rest) > 0 {
		return nil, fail(ErrBadOption, "invalid option: o=%q: the btrfs driver takes size and o=uid=,gid=,mode=", rest[0])
	}
	who, err := ownerOf(w)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf(v.Options["size"])
	return btrfs{v, size, who}, err
}

func (b btrfs) Create(ctx context.Context) error {
	if err := onBtrfs(b.Dir); err != nil {
		return err
	}
	return b.made(ctx, b.owner.apply, "subvolume", "create", b.data())
}

// made runs the command that makes the subvolume, then limits and finishes it;
// if that fails it is gone again.
func (b btrfs) made(ctx context.Context, finish func(dir string) error, args ...string) error {
	if err := progs(ctx, args...); err != nil {
		return err
	}
	err := b.limit(ctx)
	if err == nil {
		err = finish(b.data())
	}
	if err != nil {
		return errors.Join(err, b.Remove(context.WithoutCancel(ctx)))
	}
	return nil
}

func (b btrfs) limit(ctx context.Context) error {
	if b.size == 0 {
		return nil
	}
	err := progs(ctx, "qgroup", "limit", strconv.FormatInt(b.size, 10), b.data())
	if err != nil {
		return fail(ErrUnsupported, "size: %w: turn quotas on: btrfs quota enable %s", err, filepath.Dir(b.Dir))
	}
	return nil
}

// Remove deletes the subvolume at once, the kernel its extents later. Where only
// root may, the caller's rmdir ends it: an empty subvolume is removed like a directory.
func (b btrfs) Remove(ctx context.Context) error {
	if is, err := subvolume(b.data()); err != nil || !is {
		return err
	}
	err := progs(ctx, "subvolume", "delete", b.data())
	if err == nil || os.Geteuid() != 0 {
		// Nothing can be deleted below a read-only one; its owner may change that.
		if err != nil {
			err = progs(ctx, "property", "set", "-f", "-ts", b.data(), "ro", "false")
		}
		return err
	}
	if is, statErr := subvolume(b.data()); statErr == nil && !is {
		return nil // somebody was quicker
	}
	return fail(ErrInUse, "%w: it may hold subvolumes of its own: see btrfs subvolume list -o %s", err, b.data())
}

func (b btrfs) Mount(context.Context, string) (string, error) { return b.data(), nil }

func (b btrfs) Unmount(context.Context, string, bool) error { return nil }

func (b btrfs) Inspect(context.Context) (State, error) {
	s := State{Mountpoint: b.data(), Scope: "local", Status: map[string]any{"Filesystem": "btrfs"}}
	if b.size > 0 {
		s.Status["Size"] = b.size
	}
	return s, nil
}

func (b btrfs) Method() Method {
	return Method{"btrfs snapshot", "no data is copied: what changes later is kept twice"}
}

func (b btrfs) Plan(_ context.Context, to Volume, _ bool) (map[string]string, error) {
	return maps.Clone(b.Options), onBtrfs(to.Dir)
}

func (b btrfs) Snapshot(ctx context.Context, to Volume, readOnly bool) error {
	clone := b
	clone.Volume = to
	args := []string{"subvolume", "snapshot"}
	if readOnly {
		args = append(args, "-r")
		clone.size = 0 // it only shrinks
	}
	asItIs := func(string) error { return nil }
	return clone.made(ctx, asItIs, append(args, b.data(), to.data())...)
}

// onBtrfs refuses a directory on another file system.
func onBtrfs(dir string) error {
	const magic = 0x9123683e // BTRFS_SUPER_MAGIC, statfs(2)
	fd, err := sys.Open(dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	st, err := sys.StatfsFd(fd)
	if err != nil {
		return err
	}
	if uint32(st.Type) != magic {
		return fail(ErrUnsupported, "%s is not on btrfs: give a --root that is, or -d local", dir)
	}
	return nil
}

// subvolume tells whether path is the root of a subvolume: they all have one
// inode number, which on other file systems is nothing special.
func subvolume(path string) (bool, error) {
	const firstFree = 256 // BTRFS_FIRST_FREE_OBJECTID
	if err := onBtrfs(filepath.Dir(path)); errors.Is(err, ErrUnsupported) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.IsDir() && st.Sys().(*syscall.Stat_t).Ino == firstFree, nil
}

// progs is btrfs(8).
func progs(ctx context.Context, args ...string) error {
	_, err := external(ctx, "btrfs", "btrfs-progs", args...)
	return err
}
