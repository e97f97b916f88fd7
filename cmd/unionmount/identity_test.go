package main_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// numbers walks a union and verifies that st_ino = d_ino, that no two objects
// share a number and that st_dev is one value. It returns the number of each path.
func numbers(t *testing.T, root string) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	owner := map[uint64]string{}
	device := lstat(t, root).Dev
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st := lstat(t, path)
		rel, _ := filepath.Rel(root, path)
		found[rel] = st.Ino
		if st.Dev != device {
			t.Errorf("%s has device %x, the root %x", rel, st.Dev, device)
		}
		if other, twice := owner[st.Ino]; twice && (st.Nlink < 2 || d.IsDir()) {
			t.Errorf("%s and %s share the number %d", other, rel, st.Ino)
		}
		owner[st.Ino] = rel
		if !d.IsDir() {
			return nil
		}
		dirents := direntNumbers(t, path)
		if dirents["."] != st.Ino {
			t.Errorf("%s/. has d_ino %d, st_ino %d", rel, dirents["."], st.Ino)
		}
		if rel != "." {
			if parent := lstat(t, filepath.Dir(path)).Ino; dirents[".."] != parent {
				t.Errorf("%s/.. has d_ino %d, the parent st_ino %d", rel, dirents[".."], parent)
			}
		}
		for name, ino := range dirents {
			if name == "." || name == ".." {
				continue
			}
			if st := lstat(t, path+"/"+name); st.Ino != ino {
				t.Errorf("%s/%s has d_ino %d, st_ino %d", rel, name, ino, st.Ino)
			}
		}
		return nil
	}))
	return found
}

func wantNumbers(t *testing.T, when string, want, got map[string]uint64) {
	t.Helper()
	for path, ino := range want {
		if got[path] != ino {
			t.Errorf("%s: %s has the number %d, had %d", when, path, got[path], ino)
		}
	}
}

// population gives a layer files, directories, links and special files, with the layer's own names and common ones.
func population(t *testing.T, dir, mark string) {
	t.Helper()
	for i := range 10 {
		write(t, fmt.Sprintf("%s/common/dir%d/%s-%d", dir, i%3, mark, i), mark)
		write(t, fmt.Sprintf("%s/%s/f%d", dir, mark, i), mark)
	}
	write(t, dir+"/common/same", mark)
	must(t, os.Symlink("same", dir+"/common/link-"+mark))
	must(t, unix.Mkfifo(dir+"/common/fifo-"+mark, 0o600))
	must(t, os.Link(dir+"/"+mark+"/f0", dir+"/common/hard-"+mark))
}

// changeEverything copies up, renames and removes through the union; it returns where renamed paths went.
func changeEverything(t *testing.T, s *site, before map[string]uint64) map[string]uint64 {
	t.Helper()
	want := map[string]uint64{}
	for path, ino := range before {
		st := lstat(t, s.in(path))
		switch kind := st.Mode & unix.S_IFMT; {
		case path == ".":
		case kind == unix.S_IFLNK:
			must(t, os.Lchown(s.in(path), 1, 1))
		default:
			must(t, unix.Chmod(s.in(path), st.Mode&0o7777^0o001))
		}
		want[path] = ino
	}
	return want
}

func TestNumbers(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 3)
		for i, l := range s.lowers {
			population(t, l, fmt.Sprintf("l%d", i))
		}
		s.mount("--io", io)
		before := numbers(t, s.mnt)
		population(t, s.in("new"), "upper")
		for path, ino := range numbers(t, s.mnt) {
			if _, known := before[path]; !known {
				before[path] = ino
			}
		}
		wantNumbers(t, "before copy-up", before, numbers(t, s.mnt))
		want := changeEverything(t, s, before)
		wantNumbers(t, "after copy-up", want, numbers(t, s.mnt))
		s.remount()
		wantNumbers(t, "after a remount", want, numbers(t, s.mnt))
		moved := map[string]uint64{}
		must(t, os.Rename(s.in("common"), s.in("l0/elsewhere")))
		must(t, os.Rename(s.in("l1/f1"), s.in("l1/g1")))
		for path, ino := range want {
			rel, inside := "", false
			if r, err := filepath.Rel("common", path); err == nil && filepath.IsLocal(r) {
				rel, inside = filepath.Join("l0/elsewhere", r), true
			}
			switch {
			case inside:
				moved[rel] = ino
			case path == "l1/f1":
				moved["l1/g1"] = ino
			default:
				moved[path] = ino
			}
		}
		wantNumbers(t, "after renames", moved, numbers(t, s.mnt))
		s.remount()
		wantNumbers(t, "after renames and a remount", moved, numbers(t, s.mnt))
	})
}

// TestNumbersAcrossFileSystems: three layers on three file systems made alike, so that their inode numbers collide.
func TestNumbersAcrossFileSystems(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 0)
		for i := range 3 {
			disk := s.diskImage(fmt.Sprintf("disk%d", i), "16M", "mkfs.ext4", "-q")
			mkdir(t, disk+"/layer")
			population(t, disk+"/layer", "same")
			write(t, fmt.Sprintf("%s/layer/own%d", disk, i), "x")
			s.lowers = append(s.lowers, disk+"/layer")
		}
		if a, b := lstat(t, s.lowers[0]+"/common/same"), lstat(t, s.lowers[1]+"/common/same"); a.Ino != b.Ino {
			t.Fatalf("the fixture is wrong: the numbers %d and %d do not collide", a.Ino, b.Ino)
		}
		s.mount("--io", io)
		before := numbers(t, s.mnt)
		if before["own0"] == before["own1"] || before["own1"] == before["own2"] {
			t.Errorf("numbers collide: %d %d %d", before["own0"], before["own1"], before["own2"])
		}
		want := changeEverything(t, s, before)
		wantNumbers(t, "after copy-up", want, numbers(t, s.mnt))
		s.remount()
		wantNumbers(t, "after a remount", want, numbers(t, s.mnt))
		s.umount()
	})
}
