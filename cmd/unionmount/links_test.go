package main_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// linked is a site whose lower has one file of three names and one of two.
func linked(t *testing.T) *site {
	t.Helper()
	s := newSite(t, 1)
	l := s.lowers[0]
	write(t, l+"/a", "three names\n")
	mkdir(t, l+"/dir")
	must(t, os.Link(l+"/a", l+"/b"))
	must(t, os.Link(l+"/a", l+"/dir/c"))
	write(t, l+"/dir/x", "two names\n")
	must(t, os.Link(l+"/dir/x", l+"/y"))
	return s
}

// wantLinked verifies that the names are one file: number, count, content.
func wantLinked(t *testing.T, when, base string, nlink int, content string, names ...string) uint64 {
	t.Helper()
	first := lstat(t, base+"/"+names[0])
	for _, n := range names {
		st := lstat(t, base+"/"+n)
		if st.Ino != first.Ino {
			t.Errorf("%s: %s has number %d, %s has %d", when, n, st.Ino, names[0], first.Ino)
		}
		if int(st.Nlink) != nlink {
			t.Errorf("%s: %s has nlink %d, want %d", when, n, st.Nlink, nlink)
		}
		wantContent(t, base+"/"+n, content)
	}
	return first.Ino
}

// throughFUSE puts FUSE mounts of them in the place of the lowers: file systems
// without lasting handles. They have a root of their own, so that umount --all leaves them.
func (s *site) throughFUSE() {
	s.t.Helper()
	for i, l := range s.lowers {
		at := l + "-fuse"
		mkdir(s.t, at)
		mustRun(s.t, suite.binary, "--root", s.dir+"/root-below", "mount", "--name", fmt.Sprint("below", i), "-o", "ro", l, at)
		s.lowers[i] = at
	}
}

// TestLinksStayLinked: whatever is done to one name is done to all, here and
// after a remount; also over a file system that has no handles to name a lower file by.
func TestLinksStayLinked(t *testing.T) {
	all := []string{"a", "b", "dir/c"}
	steps := []struct {
		what    string
		change  func(base string) error
		nlink   int
		content string
		names   []string
	}{
		{"copy-up by a write", func(b string) error { add(b+"/b", "more\n"); return nil }, 3, "three names\nmore\n", all},
		{"copy-up by chmod", func(b string) error { return os.Chmod(b+"/dir/c", 0o600) }, 3, "three names\n", all},
		{"copy-up by truncate", func(b string) error { return os.Truncate(b+"/a", 5) }, 3, "three", all},
		{"rename", func(b string) error { return os.Rename(b+"/b", b+"/dir/moved") }, 3, "three names\n", []string{"a", "dir/moved", "dir/c"}},
		{"unlink", func(b string) error { return os.Remove(b + "/a") }, 2, "three names\n", all[1:]},
		{"unlink of all but one", func(b string) error {
			do(os.Remove(b + "/a"))
			return os.Remove(b + "/dir/c")
		}, 1, "three names\n", []string{"b"}},
		{"link", func(b string) error { return os.Link(b+"/b", b+"/dir/new") }, 4, "three names\n", append([]string{"dir/new"}, all...)},
		{"unlink, then write", func(b string) error { do(os.Remove(b + "/a")); add(b+"/b", "more\n"); return nil }, 2, "three names\nmore\n", all[1:]},
		{"rename over one of them", func(b string) error {
			put(b+"/other", "other")
			return os.Rename(b+"/other", b+"/a")
		}, 2, "three names\n", all[1:]},
		{"rename of a link over its twin", func(b string) error { return os.Rename(b+"/a", b+"/b") }, 3, "three names\n", all},
		{"rename of the directory", func(b string) error { return os.Rename(b+"/dir", b+"/dir2") }, 3, "three names\n", []string{"a", "b", "dir2/c"}},
		{"exchange", func(b string) error {
			put(b+"/other", "other")
			return renameWith(unix.RENAME_EXCHANGE)(b+"/other", b+"/a")
		}, 3, "three names\n", []string{"other", "b", "dir/c"}},
		{"everything", func(b string) error {
			add(b+"/a", "1\n")
			do(os.Link(b+"/b", b+"/d"))
			do(os.Remove(b + "/a"))
			do(os.Rename(b+"/dir/c", b+"/a"))
			add(b+"/d", "2\n")
			return os.Link(b+"/a", b+"/dir/e")
		}, 4, "three names\n1\n2\n", []string{"a", "b", "d", "dir/e"}},
	}
	eachIO(t, func(t *testing.T, io string) {
		for i, step := range append(steps, steps...) {
			what, overFUSE := step.what, i >= len(steps)
			if overFUSE {
				what += " over FUSE"
			}
			aside(t, what, func(t *testing.T) {
				s := linked(t)
				if overFUSE {
					s.throughFUSE()
				}
				s.mount("--io", io)
				before := wantLinked(t, "before", s.mnt, 3, "three names\n", all...)
				must(t, step.change(s.mnt))
				after := wantLinked(t, "after", s.mnt, step.nlink, step.content, step.names...)
				s.remount()
				again := wantLinked(t, "after a remount", s.mnt, step.nlink, step.content, step.names...)
				wantLinked(t, "the other file", s.mnt, 2, "two names\n", "y", twoNames(s.mnt))
				if before != after || after != again {
					t.Errorf("the number was %d, then %d, after a remount %d", before, after, again)
				}
			})
		}
	})
}

// twoNames says where dir/x is, since a step may have renamed dir.
func twoNames(base string) string {
	if _, err := os.Lstat(base + "/dir/x"); err == nil {
		return "dir/x"
	}
	return "dir2/x"
}

// TestLinksWriteThroughOpenDescriptor: a descriptor of one name sees what is written by another.
func TestLinksWriteThroughOpenDescriptor(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := linked(t)
		s.mount("--io", io)
		f, err := os.Open(s.in("a"))
		must(t, err)
		defer f.Close()
		buf := make([]byte, 100)
		f.ReadAt(buf, 0)
		appendTo(t, s.in("dir/c"), "more\n")
		if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != "three names\nmore\n" {
			t.Errorf("the descriptor of another name reads %q", buf[:n])
		}
		if st, err := f.Stat(); err != nil || st.Size() != 17 {
			t.Errorf("fstat: %v %v", st, err)
		}
	})
}

// TestLinksUnlinkedToZero: the last name goes, and an open descriptor lives on with nlink 0.
func TestLinksUnlinkedToZero(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := linked(t)
		s.mount("--io", io)
		f, err := os.OpenFile(s.in("a"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		for i, n := range []string{"a", "b", "dir/c"} {
			must(t, os.Remove(s.in(n)))
			var st unix.Stat_t
			must(t, unix.Fstat(int(f.Fd()), &st))
			if int(st.Nlink) != 2-i {
				t.Errorf("after unlink of %s: fstat says nlink %d, want %d", n, st.Nlink, 2-i)
			}
		}
		_, err = f.WriteAt([]byte("THREE"), 0)
		must(t, err)
		buf := make([]byte, 12)
		if n, err := f.ReadAt(buf, 0); string(buf[:n]) != "THREE names\n" {
			t.Errorf("read of the unlinked file: %q, %v", buf[:n], err)
		}
	})
}

// TestLinksReadByTheKernel: kernel overlayfs (index=on,redirect_dir=on) finds the same links in our upper; then it changes them and we read.
func TestLinksReadByTheKernel(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := linked(t)
		s.mount("--io", io)
		appendTo(t, s.in("a"), "ours\n")
		must(t, os.Remove(s.in("b")))
		must(t, os.Link(s.in("a"), s.in("new")))
		must(t, os.Rename(s.in("dir"), s.in("moved")))
		names := []string{"a", "new", "moved/c"}
		wantLinked(t, "ours", s.mnt, 3, "three names\nours\n", names...)
		wantLinked(t, "untouched, ours", s.mnt, 2, "two names\n", "y", "moved/x")
		want := describe(t, s.mnt, nil)
		s.umount()

		kernel := s.dir + "/kernel"
		s.kernelOverlay(kernel, "index=on", "redirect_dir=on")
		first := wantLinked(t, "kernel", kernel, 3, "three names\nours\n", names...)
		wantLinked(t, "untouched, kernel", kernel, 2, "two names\n", "y", "moved/x")
		if d := differences(want, describe(t, kernel, nil)); d != "" {
			t.Errorf("the kernel sees another tree:\n%s", d)
		}
		appendTo(t, kernel+"/new", "kernel's\n")
		if second := wantLinked(t, "kernel, written", kernel, 3, "three names\nours\nkernel's\n", names...); second != first {
			t.Errorf("the kernel's number changed from %d to %d", first, second)
		}
		must(t, os.Remove(kernel+"/a"))
		must(t, os.Chmod(kernel+"/y", 0o600))
		must(t, os.Link(kernel+"/moved/x", kernel+"/z"))
		must(t, os.Rename(kernel+"/moved", kernel+"/moved2"))
		want = describe(t, kernel, nil)
		unmount(t, kernel)

		s.must("start", s.name)
		wantLinked(t, "ours again", s.mnt, 2, "three names\nours\nkernel's\n", "new", "moved2/c")
		wantLinked(t, "the other file, ours again", s.mnt, 3, "two names\n", "y", "z", "moved2/x")
		if d := differences(want, describe(t, s.mnt, nil)); d != "" {
			t.Errorf("we see another tree than the kernel:\n%s", d)
		}
		appendTo(t, s.in("moved2/c"), "ours at last\n")
		wantContent(t, s.in("new"), "three names\nours\nkernel's\nours at last\n")
	})
}

// TestLinksManyNames: a file of 50 names, half of them unlinked, all in one lower.
func TestLinksManyNames(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		write(t, s.lowers[1]+"/n00", "many")
		for i := 1; i < 50; i++ {
			must(t, os.Link(s.lowers[1]+"/n00", fmt.Sprintf("%s/n%02d", s.lowers[1], i)))
		}
		s.mount("--io", io)
		var rest []string
		for i := range 50 {
			name := fmt.Sprintf("n%02d", i)
			if i%2 == 0 {
				must(t, os.Remove(s.in(name)))
			} else {
				rest = append(rest, name)
			}
			if i == 20 {
				appendTo(t, s.in("n49"), " more")
			}
		}
		wantLinked(t, "after", s.mnt, 25, "many more", rest...)
		s.remount()
		wantLinked(t, "after a remount", s.mnt, 25, "many more", rest...)
	})
}

// TestLinksOfSpecialFiles: hard links of symlinks and fifos stay linked too.
func TestLinksOfSpecialFiles(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		l := s.lowers[0]
		must(t, os.Symlink("somewhere", l+"/s1"))
		must(t, unix.Linkat(unix.AT_FDCWD, l+"/s1", unix.AT_FDCWD, l+"/s2", 0))
		must(t, unix.Mkfifo(l+"/f1", 0o600))
		must(t, unix.Link(l+"/f1", l+"/f2"))
		s.mount("--io", io)
		must(t, os.Lchown(s.in("s1"), 5, 6))
		must(t, os.Chmod(s.in("f2"), 0o640))
		check := func(when string) {
			for _, p := range []string{"s", "f"} {
				one, two := lstat(t, s.in(p+"1")), lstat(t, s.in(p+"2"))
				if one.Ino != two.Ino || one.Nlink != 2 || two.Nlink != 2 || one.Mode != two.Mode || one.Uid != two.Uid {
					t.Errorf("%s: %s1 and %s2 are no longer one: %+v %+v", when, p, p, one, two)
				}
			}
		}
		check("after")
		s.remount()
		check("after a remount")
	})
}

// TestLinksAcrossLayersWithoutHandles: files of two layers on one FUSE mount that
// are one file there are one in the union, at once and after a remount. They
// were one until the remount only, and two after it.
func TestLinksAcrossLayersWithoutHandles(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/top/a", "one\n")
		mkdir(t, s.lowers[0]+"/bottom")
		must(t, os.Link(s.lowers[0]+"/top/a", s.lowers[0]+"/bottom/b"))
		write(t, s.lowers[0]+"/bottom/alone", "alone\n")
		s.throughFUSE()
		s.lowers = []string{s.lowers[0] + "/top", s.lowers[0] + "/bottom"}
		s.mount("--io", io)
		before := wantLinked(t, "before", s.mnt, 2, "one\n", "a", "b")
		appendTo(t, s.in("b"), "two\n")
		appendTo(t, s.in("alone"), "still\n")
		wantLinked(t, "after", s.mnt, 2, "one\ntwo\n", "a", "b")
		s.remount()
		if again := wantLinked(t, "after a remount", s.mnt, 2, "one\ntwo\n", "a", "b"); again != before {
			t.Errorf("the number was %d and is %d", before, again)
		}
		must(t, os.Remove(s.in("b")))
		wantLinked(t, "after unlink", s.mnt, 1, "one\ntwo\n", "a")
		s.remount()
		wantLinked(t, "after unlink and a remount", s.mnt, 1, "one\ntwo\n", "a")
		wantContent(t, s.in("alone"), "alone\nstill\n")
	})
}

// TestLinksOfAFileSystemThatRenumbers: unionfs-fuse counts its files as they are
// looked up, so each mount of it gives the numbers of some to others. No file
// may show another's content for that.
func TestLinksOfAFileSystemThatRenumbers(t *testing.T) {
	need(t, "unionfs", "fusermount3")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		plain := s.dir + "/plain"
		for _, b := range []string{s.lowers[0], plain} {
			for i := range 40 {
				write(t, fmt.Sprintf("%s/f%02d", b, i), fmt.Sprintf("file %d\n", i))
				if i%4 == 0 {
					must(t, os.Link(fmt.Sprintf("%s/f%02d", b, i), fmt.Sprintf("%s/l%02d", b, i)))
				}
			}
		}
		behind := s.lowers[0]
		s.lowers[0] += "-fuse"
		mkdir(t, s.lowers[0])
		below := func(first string) {
			mustRun(t, "unionfs", behind+"=RO", s.lowers[0])
			for _, n := range listing(t, behind) {
				if n[1:] >= first {
					lstat(t, s.lowers[0]+"/"+n) // counted now
				}
			}
		}
		below("00")
		s.mount("--io", io)
		s.forget(s.lowers[0])
		change := func(i int) {
			for _, b := range []string{plain, s.mnt} {
				appendTo(t, fmt.Sprintf("%s/f%02d", b, i), "changed\n")
				must(t, os.Chmod(fmt.Sprintf("%s/f%02d", b, i+1), 0o600))
			}
		}
		for _, i := range []int{4, 9, 12, 20, 33} {
			change(i)
		}
		check := func(when string) {
			t.Helper()
			for _, n := range listing(t, plain) {
				if n[0] != 'f' {
					continue // a link may be broken, there being nothing to tell it by
				}
				want, err := os.ReadFile(plain + "/" + n)
				must(t, err)
				wantContent(t, s.in(n), string(want))
			}
		}
		check("before")
		s.umount()
		unmount(t, s.lowers[0])
		below("17")
		s.must("start", s.name)
		check("after the lower was mounted again")
		change(16)
		check("after more changes")
		s.umount()
	})
}

// TestLinksThatTheKernelBroke: without index=on the kernel's overlay breaks hard
// links at copy-up: the copy and the names left below are two files.
func TestLinksThatTheKernelBroke(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := linked(t)
		kernel := s.dir + "/kernel"
		s.kernelOverlay(kernel, "index=off")
		appendTo(t, kernel+"/b", "changed\n")
		unmount(t, kernel)
		s.mount("--io", io)
		wantContent(t, s.in("a"), "three names\n")
		wantContent(t, s.in("b"), "three names\nchanged\n")
		wantContent(t, s.in("dir/c"), "three names\n")
		appendTo(t, s.in("a"), "again\n")
		wantContent(t, s.in("dir/c"), "three names\nagain\n")
		wantContent(t, s.in("b"), "three names\nchanged\n")
		s.remount()
		wantContent(t, s.in("b"), "three names\nchanged\n")
		wantContent(t, s.in("dir/c"), "three names\nagain\n")
	})
}

// TestCountCutShort: a crash as a hard link gets a name of its own leaves a count that is relative to the lower's, and
// right; it no longer was when a name was removed, or replaced, at the next mount.
func TestCountCutShort(t *testing.T) {
	for what, change := range map[string]string{"removed": "rm moved", "replaced": "echo new > n; mv -f n moved"} {
		s := linked(t)
		s.mount()
		mustShell(t, s.mnt, "mv a moved")
		s.umount()
		mustShell(t, s.upper, "setfattr -n trusted.overlay.nlink -v L+0 moved; setfattr -n trusted.overlay.unionmount.nlink -v 3 moved")
		s.must("start", s.name)
		wantLinked(t, "before", s.mnt, 3, "three names\n", "moved", "b", "dir/c")
		mustShell(t, s.mnt, change)
		wantLinked(t, what, s.mnt, 2, "three names\n", "b", "dir/c")
		s.umount()
	}
}
