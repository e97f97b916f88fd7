package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// origin is one way in which a name can have come to be in the union. lower
// makes the layers, with one directory for both in the plain copy, so the top
// is written last; upper is done through the union and in the plain copy.
type origin struct {
	name  string
	lower func(top, bottom string) // the object's paths in the two layers
	upper func(at string)
}

func put(path, content string) {
	os.MkdirAll(filepath.Dir(path), 0o755)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		panic(err)
	}
}

func add(path, content string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(content)
		f.Close()
	}
	if err != nil {
		panic(err)
	}
}

func do(err error) {
	if err != nil {
		panic(err)
	}
}

// fullDirectory has files, a directory and a link in the top layer, the bottom layer or both.
func fullDirectory(top, bottom string) {
	put(bottom+"/from-bottom", "bottom")
	put(bottom+"/both", "bottom")
	put(top+"/both", "top")
	put(top+"/from-top", "top")
	put(bottom+"/sub/x", "bottom x")
	put(top+"/sub/y", "top y")
	do(os.Symlink("from-bottom", bottom+"/link"))
}

func nothing(string)        {}
func noLayer(_, _ string)   {}
func lowerFile(_, b string) { put(b, "lower file") }

// origins are files, directories and absent names over and across upper, lower, merged, whited-out and opaque.
var origins = []origin{
	{"absent", noLayer, nothing},
	{"file in lower", lowerFile, nothing},
	{"file in both lowers", func(top, bottom string) { put(bottom, "bottom"); put(top, "top") }, nothing},
	{"file in upper", noLayer, func(at string) { put(at, "upper file") }},
	{"file copied up", lowerFile, func(at string) { add(at, " and more") }},
	{"file whited out", lowerFile, func(at string) { do(os.Remove(at)) }},
	{"file over a whiteout", lowerFile, func(at string) { do(os.Remove(at)); put(at, "new file") }},
	{"link in lower", func(_, b string) { do(os.MkdirAll(filepath.Dir(b), 0o755)); do(os.Symlink("target", b)) }, nothing},
	{"link in upper", noLayer, func(at string) { do(os.Symlink("target", at)) }},
	{"fifo in lower", func(_, b string) { do(os.MkdirAll(filepath.Dir(b), 0o755)); do(unix.Mkfifo(b, 0o640)) }, nothing},
	{"empty directory in lower", func(_, b string) { do(os.MkdirAll(b, 0o755)) }, nothing},
	{"empty directory in upper", noLayer, func(at string) { do(os.Mkdir(at, 0o700)) }},
	{"full directory in one lower", func(_, b string) { fullDirectory(b+"/inner", b) }, nothing},
	{"merged lowers", fullDirectory, nothing},
	{"full directory in upper", noLayer, func(at string) { put(at+"/a", "upper a"); put(at+"/b/c", "upper c") }},
	{"merged with upper", fullDirectory, func(at string) {
		put(at+"/from-upper", "upper")
		add(at+"/from-bottom", " changed")
		do(os.Remove(at + "/both"))
		put(at+"/sub/z", "upper z")
	}},
	{"merged and emptied", fullDirectory, func(at string) {
		do(os.RemoveAll(at + "/sub"))
		for _, n := range []string{"from-bottom", "both", "from-top", "link"} {
			do(os.Remove(at + "/" + n))
		}
	}},
	{"directory whited out", fullDirectory, func(at string) { do(os.RemoveAll(at)) }},
	{"empty opaque directory", fullDirectory, func(at string) { do(os.RemoveAll(at)); do(os.Mkdir(at, 0o711)) }},
	{"full opaque directory", fullDirectory, func(at string) { do(os.RemoveAll(at)); put(at+"/both", "new"); put(at+"/sub/new", "new") }},
	{"file over a directory", fullDirectory, func(at string) { do(os.RemoveAll(at)); put(at, "file now") }},
	{"directory over a file", lowerFile, func(at string) { do(os.Remove(at)); put(at+"/inside", "directory now") }},
	{"renamed merged directory", noLayer, func(at string) { do(os.Rename(at+"-elsewhere", at)) }},
}

// build makes an origin's layers; it gives "renamed merged directory" what it renames.
func (o origin) build(top, bottom string) {
	do(os.MkdirAll(filepath.Dir(bottom), 0o755))
	o.lower(top, bottom)
	if o.name == "renamed merged directory" {
		fullDirectory(top+"-elsewhere", bottom+"-elsewhere")
	}
}

// namesCase is one operation in a directory of its own: on name/one, and the second on other/two.
type namesCase struct {
	what     string
	one, two origin
	operate  func(one, two string) error
}

// runNames does every case in the union and on a plain copy, one mount for all, and compares errnos and trees, then the trees after a remount.
func runNames(t *testing.T, io string, cases []namesCase, extra ...string) {
	t.Helper()
	s := newSite(t, 2)
	plain := s.dir + "/plain"
	mkdir(t, plain)
	directory := func(i int) string { return fmt.Sprintf("/case-%04d", i) }
	for i, c := range cases {
		// The other directory is new, so that a move changes the parent, in the layers too.
		for _, base := range [][2]string{{s.lowers[0], s.lowers[1]}, {plain, plain}} {
			top, bottom := base[0]+directory(i), base[1]+directory(i)
			do(os.MkdirAll(bottom+"/from", 0o755))
			do(os.MkdirAll(bottom+"/to", 0o755))
			c.one.build(top+"/from/one", bottom+"/from/one")
			c.two.build(top+"/to/two", bottom+"/to/two")
		}
	}
	s.mount(append([]string{"--io", io}, extra...)...)
	sameTree(t, "before", plain, s.mnt)
	for i, c := range cases {
		var errs [2]unix.Errno
		for j, base := range []string{plain, s.mnt} {
			at := base + directory(i)
			c.one.upper(at + "/from/one")
			c.two.upper(at + "/to/two")
			errs[j] = errnoOf(c.operate(at+"/from/one", at+"/to/two"))
		}
		if errs[0] != errs[1] {
			t.Errorf("case %d: %s: %q, %q: %s, below %s", i, c.what, c.one.name, c.two.name, errnoName(errs[1]), errnoName(errs[0]))
		}
	}
	compare := func(when string) {
		want, got := describe(t, plain, nil), describe(t, s.mnt, nil)
		if d := differences(want, got); d != "" {
			t.Errorf("%s:\n%s", when, d)
			for i, c := range cases {
				if strings.Contains(d, directory(i)[1:]) {
					t.Logf("case-%04d is %s: %q, %q", i, c.what, c.one.name, c.two.name)
				}
			}
		}
	}
	compare("after the operations")
	s.remount()
	compare("after a remount")
}

func TestNamesSingle(t *testing.T) {
	operations := []struct {
		what    string
		operate func(path string) error
	}{
		{"create O_EXCL", func(p string) error { return openClose(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY) }},
		{"create", func(p string) error { return openClose(p, unix.O_CREAT|unix.O_WRONLY) }},
		{"create O_TRUNC", func(p string) error { return openClose(p, unix.O_CREAT|unix.O_TRUNC|unix.O_RDWR) }},
		{"create O_NOFOLLOW", func(p string) error { return openClose(p, unix.O_CREAT|unix.O_NOFOLLOW|unix.O_RDWR|unix.O_NONBLOCK) }},
		{"mkdir", func(p string) error { return unix.Mkdir(p, 0o750) }},
		{"rmdir", unix.Rmdir},
		{"unlink", unix.Unlink},
		{"remove all", os.RemoveAll},
		{"mknod file", func(p string) error { return unix.Mknod(p, unix.S_IFREG|0o604, 0) }},
		{"mknod fifo", func(p string) error { return unix.Mknod(p, unix.S_IFIFO|0o604, 0) }},
		{"mknod char", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o604, int(unix.Mkdev(1, 3))) }},
		{"mknod block", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o604, int(unix.Mkdev(7, 77))) }},
		{"symlink", func(p string) error { return unix.Symlink("new target", p) }},
		{"trailing slash", func(p string) error { return unix.Mkdir(p+"/", 0o750) }},
		{"mkdir inside", func(p string) error { return unix.Mkdir(p+"/both", 0o750) }},
		{"replace", func(p string) error { os.RemoveAll(p); return unix.Mkdir(p, 0o705) }},
		{"replace twice", func(p string) error {
			os.RemoveAll(p)
			os.Mkdir(p, 0o705)
			os.RemoveAll(p)
			return os.WriteFile(p, []byte("again"), 0o604)
		}},
	}
	var cases []namesCase
	for _, op := range operations {
		for _, o := range origins {
			cases = append(cases, namesCase{op.what, o, origins[0], func(one, _ string) error { return op.operate(one) }})
		}
	}
	eachIOInTurn(t, func(t *testing.T, io string) { runNames(t, io, half(io, cases)) })
}

func openClose(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("W"))
	unix.Close(fd)
	return err
}

func pairs(what string, operate func(one, two string) error) []namesCase {
	var cases []namesCase
	for _, one := range origins {
		for _, two := range origins {
			cases = append(cases, namesCase{what, one, two, operate})
		}
	}
	return cases
}

// half is what the short form does with each contract: every other case, so that
// both together do all. The long form does all with both.
func half(io string, cases []namesCase) []namesCase {
	if long() {
		return cases
	}
	var some []namesCase
	for i := slices.Index(contracts, io); i < len(cases); i += len(contracts) {
		some = append(some, cases[i])
	}
	return some
}

func renameWith(flags uint) func(one, two string) error {
	return func(one, two string) error { return unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, flags) }
}

func TestNamesRename(t *testing.T) {
	eachIOInTurn(t, func(t *testing.T, io string) { runNames(t, io, half(io, pairs("rename", renameWith(0)))) })
}

func TestNamesRenameNoReplace(t *testing.T) {
	eachIOInTurn(t, func(t *testing.T, io string) {
		runNames(t, io, half(io, pairs("rename NOREPLACE", renameWith(unix.RENAME_NOREPLACE))))
	})
}

func TestNamesRenameExchange(t *testing.T) {
	eachIOInTurn(t, func(t *testing.T, io string) {
		runNames(t, io, half(io, pairs("rename EXCHANGE", renameWith(unix.RENAME_EXCHANGE))))
	})
}

func TestNamesLink(t *testing.T) {
	runNames(t, "open", pairs("link", unix.Link))
}

// TestNamesAfterRename: what was moved is changed in its new place, and the old place is used again.
func TestNamesAfterRename(t *testing.T) {
	operate := func(one, two string) error {
		if err := unix.Rename(one, two); err != nil {
			return err
		}
		if fi, err := os.Lstat(two); err == nil && fi.IsDir() {
			os.Remove(two + "/both")
			os.WriteFile(two+"/from-bottom", []byte("after the move"), 0o600)
			os.Rename(two+"/sub", two+"/sub2")
			os.Mkdir(two+"/sub", 0o700)
		}
		os.MkdirAll(one+"/sub", 0o755)
		return os.WriteFile(one+"/both", []byte("in the old place"), 0o600)
	}
	runNames(t, "cached", pairs("rename and change", operate))
}

// TestNamesUserMarks: in an upper with user.* marks no rename answers EXDEV either, and links, exchanges and refusals are as
// below: without redirects, and with. The short form does every seventh of what another test does with trusted.* marks.
func TestNamesUserMarks(t *testing.T) {
	all := pairs("rename", renameWith(0))
	others := append(pairs("rename NOREPLACE", renameWith(unix.RENAME_NOREPLACE)),
		append(pairs("rename EXCHANGE", renameWith(unix.RENAME_EXCHANGE)), pairs("link", unix.Link)...)...)
	t.Run("copied whole", func(t *testing.T) { runNames(t, "open", append(all, seventh(others)...), "-o", "userxattr") })
	t.Run("redirects", func(t *testing.T) {
		runNames(t, "cached", seventh(append(all, others...)), "-o", "userxattr,redirect_dir=on")
	})
}

// seventh is every seventh case: seven has no factor in common with the number of origins.
func seventh(cases []namesCase) []namesCase {
	if long() {
		return cases
	}
	var some []namesCase
	for i := 0; i < len(cases); i += 7 {
		some = append(some, cases[i])
	}
	return some
}

// TestUserRedirects: with userxattr and redirect_dir=on a lower directory is renamed by a mark in user.*, without a copy of
// what is in it; it is found again after a remount and moves again.
func TestUserRedirects(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		plain := s.dir + "/plain"
		for _, base := range [][2]string{{s.lowers[0], s.lowers[1]}, {plain, plain}} {
			fullDirectory(base[0]+"/d", base[1]+"/d")
			put(base[1]+"/parent/d/deep/file", "deep")
		}
		s.mount("--io", io, "-o", "userxattr,redirect_dir=on")
		move := func(from, to string) {
			t.Helper()
			for _, base := range []string{plain, s.mnt} {
				must(t, os.Rename(base+"/"+from, base+"/"+to))
			}
			sameTree(t, "after "+from+" to "+to, plain, s.mnt)
		}
		marked := func(path, want string) {
			t.Helper()
			buf := make([]byte, 256)
			n, err := unix.Lgetxattr(s.upper+"/"+path, "user.overlay.redirect", buf)
			if err != nil || string(buf[:n]) != want {
				t.Errorf("%s is marked %q, %v; want %q", path, buf[:max(n, 0)], err, want)
			}
			if _, err := unix.Lgetxattr(s.upper+"/"+path, "trusted.overlay.redirect", nil); err != unix.ENODATA {
				t.Errorf("%s has a trusted mark: %v", path, err)
			}
		}
		move("d", "parent/e")
		marked("parent/e", "/d")
		wantAbsent(t, s.upper+"/parent/e/from-bottom")
		move("parent/d", "parent/f")
		marked("parent/f", "/parent/d")
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
		move("parent/e", "g")
		for _, base := range []string{plain, s.mnt} {
			add(base+"/g/from-bottom", "changed")
			do(os.Remove(base + "/g/both"))
			do(os.Mkdir(base+"/d", 0o700)) // in the old place: it shows nothing of the lower's
			do(os.Mkdir(base+"/parent/d", 0o700))
		}
		sameTree(t, "with changes", plain, s.mnt)
		s.remount()
		sameTree(t, "after another remount", plain, s.mnt)
	})
}

// TestNamesRenameDeep: directories from a lower move into each other, up and down, and the moved ones move again.
func TestNamesRenameDeep(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		plain := s.dir + "/plain"
		for _, base := range []string{s.lowers[1], plain} {
			for _, d := range []string{"a/b/c/d", "e/f/g", "h"} {
				put(base+"/"+d+"/file", d)
			}
		}
		for _, base := range []string{s.lowers[0], plain} {
			put(base+"/a/b/top", "top")
			put(base+"/e/f/top", "top")
		}
		s.mount("--io", io)
		moves := [][2]string{{"a/b", "e/f/b"}, {"e/f", "h/f"}, {"h", "a/h"}, {"a/h/f/b/c", "c"}, {"c", "e/c"}, {"a/h/f", "a/f"}, {"e", "a/f/e"}}
		for _, m := range moves {
			for _, base := range []string{plain, s.mnt} {
				must(t, os.Rename(base+"/"+m[0], base+"/"+m[1]))
				must(t, os.Mkdir(base+"/"+m[0], 0o755))
				put(base+"/"+m[0]+"/new", "new in "+m[0])
			}
			sameTree(t, "after "+m[0]+" to "+m[1], plain, s.mnt)
		}
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
		wantErrno(t, "into itself", unix.Rename(s.in("a"), s.in("a/f/x")), unix.EINVAL)
		wantErrno(t, "RENAME_WHITEOUT", unix.Renameat2(unix.AT_FDCWD, s.in("a"), unix.AT_FDCWD, s.in("w"), unix.RENAME_WHITEOUT), unix.EINVAL)
	})
}
