package unionfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// wantMode says how the object at p is not of that mode or has another number of links.
func wantMode(p string, mode uint32, links uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if st.Mode&0o7777 != mode || st.Mode&unix.S_IFMT != unix.S_IFDIR && uint64(st.Nlink) != links {
		return fmt.Errorf("%s: mode %o and %d links, want %o and %d", p, st.Mode&0o7777, st.Nlink, mode, links)
	}
	return nil
}

// named says which of several calls failed.
func named(calls map[string]error) (err error) {
	for name, e := range calls {
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
		}
	}
	return err
}

// TestLinkedFileWithoutWrite: what a plain user does for the first time to a hard link of a lower without write permission
// for its owner answered EACCES: the count of its names is an attribute, and to set one takes that permission.
func TestLinkedFileWithoutWrite(t *testing.T) {
	union, as, remount := userUnion(t, func(lower string) (err error) {
		for _, n := range []string{"unlink", "rename", "link", "chmod", "setuid"} {
			err = errors.Join(err, os.WriteFile(lower+"/"+n, []byte(n), 0o444), os.Link(lower+"/"+n, lower+"/"+n+"2"))
		}
		return errors.Join(err, unix.Chmod(lower+"/setuid", 0o4555))
	})
	err := as(func() error {
		return named(map[string]error{
			"unlink": unix.Unlink(union + "/unlink"), "rename": os.Rename(union+"/rename", union+"/renamed"),
			"link": os.Link(union+"/link", union+"/link3"), "chmod": unix.Chmod(union+"/chmod", 0o400), "setuid": unix.Unlink(union + "/setuid"),
		})
	})
	for _, when := range []string{"then", "after a remount"} {
		err = errors.Join(err, as(func() error {
			return errors.Join(wantMode(union+"/unlink2", 0o444, 1), wantMode(union+"/renamed", 0o444, 2), wantMode(union+"/rename2", 0o444, 2),
				wantMode(union+"/link3", 0o444, 3), wantMode(union+"/chmod2", 0o400, 2), wantMode(union+"/setuid2", 0o4555, 1))
		}))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		err = remount()
	}
}

// TestTruncateOfAHardLink: a plain user who opened a lower hard link with O_TRUNC, in a directory of his without write
// permission, was told EACCES, and the file was empty: its copy had been made short and indexed, and only a name in upper
// was refused.
func TestTruncateOfAHardLink(t *testing.T) {
	union, as, remount := userUnion(t, func(lower string) error {
		return errors.Join(os.Mkdir(lower+"/d", 0o755), os.WriteFile(lower+"/d/f", []byte("content"), 0o644),
			os.Link(lower+"/d/f", lower+"/other"), os.Chmod(lower+"/d", 0o555))
	})
	err := as(func() error { return os.WriteFile(union+"/d/f", []byte("new"), 0o644) })
	for _, when := range []string{"then", "after a remount"} {
		err = errors.Join(err, as(func() error {
			for _, n := range []string{"/d/f", "/other"} {
				if got, err := os.ReadFile(union + n); err != nil || string(got) != "new" {
					return fmt.Errorf("%s: %q, %w", n, got, err)
				}
			}
			return errors.Join(wantMode(union+"/d/f", 0o644, 2), wantMode(union+"/d", 0o555, 2))
		}))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		err = remount()
	}
}

// TestDirectoryWithoutWrite: a plain user could not change a lower directory of his that has no write permission for its
// owner, nor make one where a lower name was removed, nor remove or replace one that hides names (EACCES): to move a
// directory, and to set an attribute on it, takes that permission.
func TestDirectoryWithoutWrite(t *testing.T) {
	union, as, remount := userUnion(t, func(lower string) (err error) {
		for _, n := range []string{"changed", "removed", "again/x", "gone/x", "hides", "over", "away"} {
			err = errors.Join(err, os.MkdirAll(lower+"/"+n, 0o755))
		}
		for _, n := range []string{"hides", "over", "away"} {
			err = errors.Join(err, os.WriteFile(lower+"/"+n+"/f", nil, 0o644))
		}
		return errors.Join(err, os.Chmod(lower+"/changed", 0o555), os.Chmod(lower+"/removed", 0o555))
	})
	err := as(func() error {
		err := errors.Join(os.RemoveAll(union+"/again"), os.Remove(union+"/hides/f"), os.Remove(union+"/over/f"),
			os.Chmod(union+"/hides", 0o555), os.Chmod(union+"/over", 0o555), os.Mkdir(union+"/new", 0o711), os.Mkdir(union+"/low", 0o755),
			os.RemoveAll(union+"/gone"), os.Mkdir(union+"/pure", 0o755), os.Chmod(union+"/pure", 0o555),
			os.Remove(union+"/away/f"), os.Rename(union+"/away", union+"/away2"), os.Chmod(union+"/away2", 0o555))
		if err != nil {
			return err
		}
		return named(map[string]error{
			"chmod": unix.Chmod(union+"/changed", 0o2555), "rmdir": unix.Rmdir(union + "/removed"), "mkdir": unix.Mkdir(union+"/again", 0o555),
			"rmdir of one that hides": unix.Rmdir(union + "/hides"), "rename over": unix.Rename(union+"/new", union+"/over"),
			"rename to a removed name": os.Rename(union+"/pure", union+"/gone"), "rmdir of one that came from elsewhere": unix.Rmdir(union + "/away2"),
			"mkdir in upper": unix.Mkdir(union+"/low/d", 0o555), "rename of an empty one": os.Rename(union+"/low/d", union+"/low/e"),
		})
	})
	for _, when := range []string{"then", "after a remount"} {
		err = errors.Join(err, as(func() error {
			var err error
			for _, dir := range []string{"again", "gone"} {
				left, e := os.ReadDir(union + "/" + dir)
				if err = errors.Join(err, e); len(left) > 0 {
					err = errors.Join(err, fmt.Errorf("%s shows %v", dir, left))
				}
			}
			for _, gone := range []string{"removed", "hides", "new", "low/d", "pure", "away", "away2"} {
				if _, e := os.Lstat(union + "/" + gone); !os.IsNotExist(e) {
					err = errors.Join(err, fmt.Errorf("%s: %v", gone, e))
				}
			}
			return errors.Join(err, wantMode(union+"/changed", 0o2555, 0), wantMode(union+"/again", 0o555, 0), wantMode(union+"/over", 0o711, 0),
				wantMode(union+"/low/e", 0o555, 0))
		}))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		err = remount()
	}
}

// TestLinkByTheNameThatIsHis: a plain user's file with two names was refused every change (EPERM, EACCES) if the name that
// was seen first lies where he can't make one: in a directory of root's, or one without write permission.
func TestLinkByTheNameThatIsHis(t *testing.T) {
	union, as, remount := userUnion(t, func(lower string) (err error) {
		for _, n := range []string{"roots", "closed"} {
			err = errors.Join(err, os.Mkdir(lower+"/"+n, 0o755), os.WriteFile(lower+"/"+n+"-his", []byte("x"), 0o644), os.Link(lower+"/"+n+"-his", lower+"/"+n+"/f"))
		}
		return errors.Join(err, os.Chmod(lower+"/closed", 0o555))
	}, func(lower string) error { return os.Chown(lower+"/roots", 0, 0) })
	err := as(func() (err error) {
		for _, n := range []string{"roots", "closed"} {
			err = errors.Join(err, wantMode(union+"/"+n+"/f", 0o644, 2), wantMode(union+"/"+n+"-his", 0o644, 2))
			if e := unix.Chmod(union+"/"+n+"-his", 0o640); e != nil {
				err = errors.Join(err, fmt.Errorf("chmod of %s-his: %w", n, e))
			}
		}
		return err
	})
	for _, when := range []string{"then", "after a remount"} {
		err = errors.Join(err, as(func() error {
			return errors.Join(wantMode(union+"/roots/f", 0o640, 2), wantMode(union+"/roots-his", 0o640, 2),
				wantMode(union+"/closed/f", 0o640, 2), wantMode(union+"/closed-his", 0o640, 2))
		}))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		err = remount()
	}
}

// TestRemovedDirectoryKeepsItsMode: an open directory that was closed to its owner, and in which a lower name was hidden,
// showed mode 0700 to a plain user once it was removed or replaced: it was opened to be cleared.
func TestRemovedDirectoryKeepsItsMode(t *testing.T) {
	modes := []uint32{0o555, 0o600, 0o2500, 0o400}
	union, as, _ := userUnion(t, dirsFor(modes))
	err := as(func() (err error) {
		for _, m := range modes {
			dir := fmt.Sprintf("%s/%o", union, m)
			fd, e := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err = errors.Join(err, e); e != nil {
				continue
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			err = errors.Join(err, os.Remove(dir+"/f"), unix.Chmod(dir, m), unix.Rmdir(dir), unix.Fstat(fd, &st))
			if st.Mode != unix.S_IFDIR|m || st.Nlink != 0 {
				err = errors.Join(err, fmt.Errorf("%s: mode %o, %d links", dir, st.Mode, st.Nlink))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRemoveDirectoryClosedToReading: a plain user could not remove a directory of his that he may not read (mkdir -m 0; rmdir):
// EACCES. One that holds a name stays.
func TestRemoveDirectoryClosedToReading(t *testing.T) {
	union, as, _ := userUnion(t, func(string) error { return nil })
	err := as(func() error {
		err := errors.Join(unix.Mkdir(union+"/none", 0), unix.Mkdir(union+"/search", 0o300), unix.Mkdir(union+"/full", 0o700),
			os.WriteFile(union+"/full/f", nil, 0o600), unix.Chmod(union+"/full", 0o300), os.Rename(union+"/search", union+"/moved"))
		if err != nil {
			return err
		}
		if e := unix.Rmdir(union + "/full"); e == nil {
			err = errors.New("a directory with a name in it was removed")
		}
		_, full := os.Stat(union + "/full/f")
		return errors.Join(err, full, named(map[string]error{"mode 0": unix.Rmdir(union + "/none"), "mode 0300, moved": unix.Rmdir(union + "/moved"),
			"the names again": errors.Join(unix.Mkdir(union+"/none", 0o755), unix.Mkdir(union+"/moved", 0o755))}))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestListingOfADirectoryOpenedAgain: what a directory showed while its owner might read and not search it, when nobody
// could look its names up, was what the kernel kept of it: numbers that stat(2) did not give.
func TestListingOfADirectoryOpenedAgain(t *testing.T) {
	union, as, _ := userUnion(t, func(lower string) error {
		return errors.Join(os.Mkdir(lower+"/d", 0o755), os.WriteFile(lower+"/d/f", []byte("content"), 0o644))
	})
	err := as(func() error {
		d := union + "/d"
		if err := errors.Join(os.Chmod(d+"/f", 0o640), os.Chmod(d, 0o600)); err != nil {
			return err
		}
		if _, err := listedNumber(d, "f"); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o700); err != nil {
			return err
		}
		got, err := listedNumber(d, "f")
		var st unix.Stat_t
		if err = errors.Join(err, unix.Stat(d+"/f", &st)); err == nil && got != st.Ino {
			err = fmt.Errorf("f is listed with number %d, and has %d", got, st.Ino)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listedNumber is the d_ino of a name in a directory.
func listedNumber(dir, name string) (uint64, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var all []byte
	buf := make([]byte, 4096)
	for { // to the end, or the kernel keeps nothing of it
		n, err := unix.Getdents(int(f.Fd()), buf)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		all = append(all, buf[:n]...)
	}
	for at := 0; at < len(all); at += int(binary.NativeEndian.Uint16(all[at+16:])) { // struct linux_dirent64
		end := at + 19 + bytes.IndexByte(all[at+19:], 0)
		if string(all[at+19:end]) == name {
			return binary.NativeEndian.Uint64(all[at:]), nil
		}
	}
	return 0, fmt.Errorf("%s is not listed in %s", name, dir)
}
