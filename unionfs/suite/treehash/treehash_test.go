package treehash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sample makes a tree whose access times are older than any reading.
func sample(t *testing.T) string {
	root := filepath.Join(t.TempDir(), "tree")
	do(t, os.MkdirAll(root+"/dir/sub", 0o755))
	do(t, os.WriteFile(root+"/dir/file", []byte("content"), 0o644))
	do(t, os.Link(root+"/dir/file", root+"/link"))
	do(t, os.WriteFile(root+"/other", []byte("content"), 0o644))
	do(t, os.Symlink("dir/file", root+"/symlink"))
	do(t, unix.Mkfifo(root+"/fifo", 0o600))
	do(t, unix.Lsetxattr(root+"/other", "user.name", []byte("value"), 0))
	for _, p := range []string{"dir/sub", "dir/file", "dir", "other", "symlink", "fifo", "."} {
		old := []unix.Timespec{{Sec: 1000, Nsec: 1}, {Sec: 2000, Nsec: 2}}
		do(t, unix.UtimesNanoAt(unix.AT_FDCWD, root+"/"+p, old, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHashChangesNothing(t *testing.T) {
	root := sample(t)
	all := Options{Atime: true, Nlink: true, DirNlink: true}
	first, err := Hash(root, all)
	do(t, err)
	if len(first) != 8 {
		t.Errorf("%d objects, should be 8: %v", len(first), first.Paths())
	}
	for range 2 {
		again, err := Hash(root, all)
		do(t, err)
		if d := Diff(first, again); d != nil {
			t.Errorf("hashing changed the tree:\n%s", strings.Join(d, "\n"))
		}
	}
	if e := first["link"]; e.Link != "dir/file" || e.Nlink != 2 || first["other"].Link != "" {
		t.Errorf("links: %+v", e)
	}
}

// TestEveryChangeShows makes one change at a time: each must be named.
func TestEveryChangeShows(t *testing.T) {
	times := []unix.Timespec{{Sec: 1000, Nsec: 1}, {Sec: 2000, Nsec: 3}}
	atimes := []unix.Timespec{{Sec: 1000, Nsec: 2}, {Sec: 2000, Nsec: 2}}
	for what, change := range map[string]func(root string) error{
		"content": func(r string) error {
			return os.WriteFile(r+"/other", []byte("CONTENT"), 0)
		},
		"mode":    func(r string) error { return os.Chmod(r+"/dir", 0o700) },
		"size":    func(r string) error { return os.Truncate(r+"/other", 100) },
		"mtime":   func(r string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/fifo", times, 0) },
		"atime":   func(r string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/fifo", atimes, 0) },
		"xattrs":  func(r string) error { return unix.Lsetxattr(r+"/dir", "user.x", nil, 0) },
		"nlink":   func(r string) error { return os.Link(r+"/other", filepath.Dir(r)+"/outside") },
		"target":  func(r string) error { os.Remove(r + "/symlink"); return os.Symlink("dir/FILE", r+"/symlink") },
		"only in": func(r string) error { return os.Remove(r + "/fifo") },
		"same object": func(r string) error {
			os.Remove(r + "/link")
			return os.Link(r+"/other", r+"/link")
		},
	} {
		t.Run(what, func(t *testing.T) {
			root := sample(t)
			opt := Options{Atime: true, Nlink: true}
			before, err := Hash(root, opt)
			do(t, err)
			do(t, change(root))
			after, err := Hash(root, opt)
			do(t, err)
			if d := strings.Join(Diff(before, after), "\n"); !strings.Contains(d, what) {
				t.Errorf("not named in %q", d)
			}
		})
	}
}
