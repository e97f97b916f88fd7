package unionfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

// userUnion is a plain user's union of one lower, made by fill as his; then root may change it.
func userUnion(t *testing.T, fill func(lower string) error, root ...func(lower string) error) (union string, as func(func() error) error, remount func() error) {
	t.Helper()
	fuseForAll(t)
	w := world{connection: connection{io: unionfs.IOOpen}, user: true, marks: startree.UserXattr}
	b, s, err := w.build(t, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	as = func(do func() error) (err error) {
		s.Look(func() { err = do() })
		return err
	}
	lower := filepath.Join(b.lowers[0], "made")
	if err := errors.Join(b.stop(), os.Mkdir(lower, 0o755), os.Chown(lower, plainUser, plainUser)); err != nil {
		t.Fatal(err)
	}
	if err := as(func() error { return fill(lower) }); err != nil {
		t.Fatal(err)
	}
	for _, change := range root {
		if err := change(lower); err != nil {
			t.Fatal(err)
		}
	}
	if b.before, err = b.hash(); err != nil {
		t.Fatal(err)
	}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(s.Union, "made"), as, s.Remount
}

// TestListUnsearchable: of a directory that its owner may read and not search (mode 0400) a plain
// user's daemon could give no listing (EACCES), because it looked at each name.
func TestListUnsearchable(t *testing.T) {
	names := []string{"dir", "dir2", "file", "made", "white"}
	union, as, remount := userUnion(t, func(lower string) error {
		return errors.Join(os.MkdirAll(lower+"/d/dir", 0o755), os.Mkdir(lower+"/d/dir2", 0o755), os.WriteFile(lower+"/d/file", nil, 0o644),
			os.WriteFile(lower+"/d/white", nil, 0o644), os.Mkdir(lower+"/closed", 0o755), os.Mkdir(lower+"/closed/dir", 0o755), os.Chmod(lower+"/closed", 0o400))
	})
	err := as(func() error {
		return errors.Join(os.WriteFile(union+"/d/file", []byte("changed"), 0o644), os.Chmod(union+"/d/dir", 0o700),
			os.WriteFile(union+"/d/made", nil, 0o600), os.Chmod(union+"/d", 0o400))
	})
	if err == nil {
		err = remount()
	}
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string][]string{"d": names, "closed": {"dir"}} {
		var got []string
		err := as(func() error {
			f, err := os.Open(filepath.Join(union, dir))
			if err != nil {
				return err
			}
			defer f.Close()
			got, err = f.Readdirnames(-1)
			return err
		})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", dir, got, err, want)
		}
	}
}

// TestMovedWholeKeepsTimes: a directory that was copied up whole, to be renamed, showed the time of
// that if it held a hard link: the link's second name came to it as if a user had made it.
func TestMovedWholeKeepsTimes(t *testing.T) {
	old := unix.NsecToTimespec(1_000_000_000_123_456_789)
	union, as, _ := userUnion(t, func(lower string) error {
		err := errors.Join(os.Mkdir(lower+"/d", 0o755), os.Mkdir(lower+"/d/sub", 0o755), os.WriteFile(lower+"/d/a", []byte("linked"), 0o644),
			os.Link(lower+"/d/a", lower+"/d/b"), os.Link(lower+"/d/a", lower+"/d/sub/c"))
		for _, dir := range []string{"d/sub", "d"} {
			err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(lower, dir), []unix.Timespec{old, old}, 0))
		}
		return err
	})
	err := as(func() error {
		if err := os.Rename(union+"/d", union+"/e"); err != nil {
			return err
		}
		var err error
		for _, dir := range []string{"e/sub", "e"} {
			var st unix.Stat_t
			err = errors.Join(err, unix.Stat(filepath.Join(union, dir), &st))
			if st.Mtim != old {
				err = errors.Join(err, fmt.Errorf("%s: mtime %v, was %v", dir, st.Mtim, old))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReachedByOtherName: a file with two names was not reached by either (EACCES) once its owner
// closed the directory of the one that was looked up first.
func TestReachedByOtherName(t *testing.T) {
	union, as, _ := userUnion(t, func(lower string) error { return os.WriteFile(lower+"/low", nil, 0o644) })
	err := as(func() error {
		err := errors.Join(os.Mkdir(union+"/closed", 0o755), os.Mkdir(union+"/open", 0o755), os.WriteFile(union+"/closed/f", []byte("x"), 0o644))
		for i := range 3 {
			err = errors.Join(err, os.Link(union+"/closed/f", fmt.Sprintf("%s/closed/f%d", union, i)))
		}
		return errors.Join(err, os.Link(union+"/closed/f", union+"/open/f"), os.Chmod(union+"/closed", 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = as(func() error {
		file := union + "/open/f"
		_, list := unix.Listxattr(file, nil)
		data, read := os.ReadFile(file)
		if string(data) != "x" {
			read = errors.Join(read, fmt.Errorf("read %q", data))
		}
		return errors.Join(list, read, os.Chmod(file, 0o600), unix.Setxattr(file, "user.a", nil, 0), os.Truncate(file, 10), os.Rename(file, file+"2"))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOpenInClosedDirectory: calls on the descriptor of an open file answered EACCES once the owner had closed the
// directory that holds its only name.
func TestOpenInClosedDirectory(t *testing.T) {
	union, as, _ := userUnion(t, func(lower string) error { return os.WriteFile(lower+"/low", nil, 0o644) })
	err := as(func() error {
		if err := errors.Join(os.Mkdir(union+"/d", 0o755), os.WriteFile(union+"/d/f", []byte("data"), 0o644)); err != nil {
			return err
		}
		fd, err := unix.Open(union+"/d/f", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := os.Chmod(union+"/d", 0o600); err != nil {
			return err
		}
		var st unix.Stat_t
		for what, call := range map[string]func() error{
			"fchmod":    func() error { return unix.Fchmod(fd, 0o600) },
			"fsetxattr": func() error { return unix.Fsetxattr(fd, "user.a", []byte("b"), 0) },
			"ftruncate": func() error { return unix.Ftruncate(fd, 2) },
			"write":     func() error { _, err := unix.Pwrite(fd, []byte("DA"), 0); return err },
			"fsync":     func() error { return unix.Fsync(fd) },
		} {
			if e := call(); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", what, e))
			}
		}
		buf := make([]byte, 10)
		n, e := unix.Pread(fd, buf, 0)
		if err = errors.Join(err, e, unix.Fstat(fd, &st)); string(buf[:max(n, 0)]) != "DA" || st.Size != 2 || st.Mode != 0o100600 {
			err = errors.Join(err, fmt.Errorf("read %q, mode %o, size %d", buf[:max(n, 0)], st.Mode, st.Size))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRefusedMoveKeepsLinkCount: a directory that could not be moved, because one below it is closed to the plain
// user's daemon, left the count of a hard link in there such that it no longer followed what was removed.
func TestRefusedMoveKeepsLinkCount(t *testing.T) {
	union, as, _ := userUnion(t, func(lower string) error {
		return errors.Join(os.MkdirAll(lower+"/d/closed", 0o755), os.WriteFile(lower+"/other", []byte("linked"), 0o644),
			os.Link(lower+"/other", lower+"/d/closed/f"))
	})
	err := as(func() error {
		if err := errors.Join(os.Rename(union+"/other", union+"/moved"), os.Chmod(union+"/d/closed", 0o555)); err != nil {
			return err
		}
		if err := os.Rename(union+"/d", union+"/e"); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("rename: %v, want EACCES", err)
		}
		if err := os.Remove(union + "/moved"); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(union+"/d/closed/f", &st); err != nil || st.Nlink != 1 {
			return fmt.Errorf("%d links, %v; want 1", st.Nlink, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// dirsFor makes a directory with a file f in it for each mode, by which it is called and which it gets later.
func dirsFor[Mode ~uint32](modes []Mode) func(lower string) error {
	return func(lower string) (err error) {
		for _, m := range modes {
			dir := fmt.Sprintf("%s/%o", lower, m)
			err = errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(dir+"/f", nil, 0o644))
		}
		return err
	}
}

// TestRemoveDirectoryClosedToItsOwner: of a directory without x for its owner that hid lower names, a
// plain user's rmdir left the whiteouts in work, and then every mount failed (remove "#15": permission denied).
func TestRemoveDirectoryClosedToItsOwner(t *testing.T) {
	modes := []os.FileMode{0o600, 0o666, 0o620}
	union, as, remount := userUnion(t, dirsFor(modes))
	err := as(func() (err error) {
		for _, m := range modes {
			dir := fmt.Sprintf("%s/%o", union, m)
			err = errors.Join(err, os.Remove(dir+"/f"), os.Chmod(dir, m), unix.Rmdir(dir))
		}
		return err
	})
	if err == nil {
		err = remount()
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(union, "../../work/work")); err != nil || len(left) > 0 {
		t.Errorf("left in work: %v, %v", left, err)
	}
	err = as(func() error {
		left, err := os.ReadDir(union)
		if len(left) > 0 {
			t.Errorf("shown: %v", left)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRenamedSymlinkOfAPlainUser: a lower symlink that a plain user had renamed answered EIO a moment later. Its copy
// can't carry the origin, so the rename found a second node for it, and the first kept the name that was gone.
func TestRenamedSymlinkOfAPlainUser(t *testing.T) {
	fuseForAll(t)
	w := world{connection: connection{io: unionfs.IOOpen}, user: true, marks: startree.UserXattr}
	b, s, err := w.build(t, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	entries, err := os.ReadDir(b.lowers[0])
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	s.Look(func() {
		for _, e := range entries {
			if e.IsDir() || e.Type().IsRegular() {
				continue
			}
			if _, err = os.ReadDir(s.Union); err != nil {
				return
			}
			to := s.Union + "/renamed"
			if err = os.Rename(filepath.Join(s.Union, e.Name()), to); errors.Is(err, unix.EPERM) {
				err = nil
				continue // root's
			}
			tried++
			var st unix.Statx_t
			if err == nil {
				err = unix.Statx(unix.AT_FDCWD, to, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
			}
			if err != nil {
				err = fmt.Errorf("%q: %w", e.Name(), err)
				return
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	if tried == 0 {
		t.Fatal("the fixture has no symlink or special file of the user's")
	}
}
