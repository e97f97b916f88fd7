package main_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString(content)
	must(t, err)
	must(t, f.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("want %q: %v", short(content), err)
	} else if string(got) != content {
		t.Errorf("%s holds %q, want %q", path, short(string(got)), short(content))
	}
}

func short(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s... (%d bytes)", s[:200], len(s))
	}
	return s
}

// wantErrno compares an error, or its absence (0), with an errno.
func wantErrno(t *testing.T, what string, err error, want unix.Errno) {
	t.Helper()
	if got := errnoOf(err); got != want {
		t.Errorf("%s: %s (%v), want %s", what, errnoName(got), err, errnoName(want))
	}
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if err != nil && !errors.As(err, &e) {
		return unix.EUCLEAN // an error without a number: never wanted
	}
	return e
}

func errnoName(e unix.Errno) string {
	if e == 0 {
		return "success"
	}
	return unix.ErrnoName(e)
}

func wantAbsent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: want it absent, got %v", path, err)
	}
}

func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("lstat %s: %v", path, err)
	}
	return st
}

// listing is the sorted names of a directory.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func wantListing(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := listing(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s lists %q, want %q", dir, got, want)
	}
}

// direntNumbers returns d_ino by name, the dots included.
func direntNumbers(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	found := map[string]uint64{}
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		must(t, err)
		if n == 0 {
			return found
		}
		for b := buf[:n]; len(b) > 0; {
			length := binary.NativeEndian.Uint16(b[16:])
			name, _, _ := strings.Cut(string(b[19:length]), "\x00")
			if _, twice := found[name]; twice {
				t.Errorf("%s lists %q twice", dir, name)
			}
			found[name] = binary.NativeEndian.Uint64(b)
			b = b[length:]
		}
	}
}

// xattrs returns the extended attributes of an object, the link itself if it is one.
func xattrs(path string) map[string]string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return nil
	}
	found := map[string]string{}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			found[name] = "unreadable: " + err.Error()
		} else {
			found[name] = string(value[:n])
		}
	}
	return found
}

// describe prints what a tree is at each path: type, mode, owner, size, device number, link structure, xattrs, content.
// more adds what only some comparisons want.
func describe(t *testing.T, root string, more func(st *unix.Stat_t) string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	first := map[[2]uint64]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		rel, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFDIR {
			id := [2]uint64{st.Dev, st.Ino}
			if first[id] == "" {
				first[id] = rel
			}
			line += fmt.Sprintf(" size %d rdev %x nlink %d with %s", st.Size, st.Rdev, st.Nlink, first[id])
		}
		switch kind {
		case unix.S_IFREG:
			sum, err := hashFile(path)
			if err != nil {
				return err
			}
			line += " content " + sum
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" to %q", target)
		}
		var attrs []string
		for name, value := range xattrs(path) {
			attrs = append(attrs, fmt.Sprintf(" %s=%q", name, value))
		}
		sort.Strings(attrs)
		line += strings.Join(attrs, "")
		if more != nil {
			line += more(&st)
		}
		tree[rel] = line
		return nil
	})
	if err != nil {
		t.Errorf("reading the tree %s: %v", root, err)
	}
	return tree
}

// hashFile reads without touching the access time, where it may.
func hashFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:12]), nil
}

// fingerprint is everything a lower must keep. It walks through a second mount
// without access times, so that looking leaves no trace.
func fingerprint(t *testing.T, lower string, atimes bool) map[string]string {
	t.Helper()
	view, closeView := quietly(lower)
	defer closeView()
	return describe(t, view, func(st *unix.Stat_t) string {
		line := fmt.Sprintf(" ino %d links %d mtime %d.%09d ctime %d.%09d", st.Ino, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
		if atimes {
			line += fmt.Sprintf(" atime %d.%09d", st.Atim.Sec, st.Atim.Nsec)
		}
		return line
	})
}

// quietly gives a way to look at a tree that leaves access times alone.
func quietly(dir string) (view string, closeView func()) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return dir, func() {}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOATIME, Attr_clr: unix.MOUNT_ATTR__ATIME}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return dir, func() {}
	}
	return fmt.Sprintf("/proc/self/fd/%d/.", fd), func() { unix.Close(fd) }
}

// differences prints up to ten paths at which two trees differ.
func differences(want, got map[string]string) string {
	var lines []string
	for path, w := range want {
		if g, ok := got[path]; !ok {
			lines = append(lines, fmt.Sprintf("%s: missing (%s)", path, w))
		} else if g != w {
			lines = append(lines, fmt.Sprintf("%s:\n\twant %s\n\tgot  %s", path, w, g))
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			lines = append(lines, fmt.Sprintf("%s: not wanted (%s)", path, g))
		}
	}
	sort.Strings(lines)
	if len(lines) > 10 {
		lines = append(lines[:10], fmt.Sprintf("... and %d more", len(lines)-10))
	}
	return strings.Join(lines, "\n")
}

// sameTree compares two trees in everything but numbers and times.
func sameTree(t *testing.T, what, want, got string) {
	t.Helper()
	if d := differences(describe(t, want, nil), describe(t, got, nil)); d != "" {
		t.Errorf("%s: %s is not as %s:\n%s", what, got, want, d)
	}
}
