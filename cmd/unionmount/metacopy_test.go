package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel copies only metadata up with metacopy=on: the data of such a file
// lies below, and it reads as zeros to who doesn't know.

const metacopyOptions = "metacopy=on,index=on,redirect_dir=on"

// large is a lower of files that the kernel will copy up without their data.
const large = `
mkdir -p d/deep e
for f in same written moved away d/deep/in e/in caps hard1 setid cut; do head -c 300000 /dev/urandom > $f; done
truncate -s 1M holes; echo tail >> holes
: > empty
ln hard1 hard2; ln hard1 d/hard3
setcap cap_net_raw+ep caps; chmod 755 caps
find . -type f -exec touch -h -d 2001-02-03T04:05:06.789 {} +
`

// metaOnly changes everything but data.
const metaOnly = `
for f in same written e/in caps holes empty cut; do chmod 640 $f; done
chown 5:6 same; setcap cap_net_raw+ep caps; chmod 4755 setid
mv moved renamed; chmod 600 renamed
chmod 604 away; mv away d/away
chmod 611 d/deep/in; mv d/deep e/deep2
mv e e2
chmod 640 hard2; ln hard2 e2/hard4; mv d/hard3 hard3
setfattr -n user.k -v v same
`

// inKernel runs a script in a kernel overlay of the site and returns what that shows.
func (s *site) inKernel(t *testing.T, script string) map[string]string {
	t.Helper()
	at := s.dir + "/kernel"
	s.kernelOverlay(at, metacopyOptions)
	mustShell(t, at, script)
	shown := withTimes(t, at)
	unmount(t, at)
	return shown
}

// sameInKernel unmounts, and checks that a kernel overlay shows of the upper what we showed.
func (s *site) sameInKernel(t *testing.T) {
	t.Helper()
	want := withTimes(t, s.mnt)
	s.umount()
	if d := differences(want, s.inKernel(t, "")); d != "" {
		t.Errorf("the kernel shows another tree than we:\n%s", d)
	}
}

// plainCopy copies what the mount shows into a plain directory.
func (s *site) plainCopy(t *testing.T) string {
	t.Helper()
	mustShell(t, s.dir, "cp -a --preserve=all mnt plain")
	return s.dir + "/plain"
}

// metacopies lists the files of a tree that carry the mark.
func metacopies(t *testing.T, root string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if _, marked := xattrs(path)["trusted.overlay.metacopy"]; marked {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// TestMetacopyUpperOfTheKernel: an upper with metacopies of the kernel's shows
// as the kernel shows it; each kind of change completes the file; the kernel reads it back.
func TestMetacopyUpperOfTheKernel(t *testing.T) {
	need(t, "setcap", "setfattr")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, s.lowers[0], large)
		want := s.inKernel(t, metaOnly)
		if n := len(metacopies(t, s.upper)); n < 10 {
			t.Fatalf("the fixture is wrong: the kernel made %d metacopies", n)
		}
		s.mount("--io", io)
		if d := differences(want, withTimes(t, s.mnt)); d != "" {
			t.Errorf("we show another tree than the kernel:\n%s", d)
		}
		if st := lstat(t, s.in("same")); st.Blocks*512 < 300_000 {
			t.Errorf("a file of 300000 bytes shows %d blocks: tar takes it for a hole", st.Blocks)
		}
		plain := s.plainCopy(t)
		for _, b := range []string{plain, s.mnt} {
			mustShell(t, b, `
echo more >> written; chmod 600 same; truncate -s 100 cut; mv renamed d/again; ln d/away d/away2
echo x | dd of=e2/deep2/in bs=1 seek=1000 conv=notrunc status=none; echo linked >> hard3
touch -d 2011-01-01 e2/in; echo full > empty; setfattr -n user.k -v w holes; mv e2 e3
mv setid caps2; mv caps caps3`)
		}
		sameTree(t, "after the changes", plain, s.mnt)
		if left := metacopies(t, s.upper); len(left) > 0 {
			t.Errorf("changed, and not completed: %v", left)
		}
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
		s.sameInKernel(t)
	})
}

// TestMetacopyLayersOfTheKernel: two layers of metacopies, one over the other.
func TestMetacopyLayersOfTheKernel(t *testing.T) {
	need(t, "setcap", "setfattr")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, s.lowers[0], large)
		s.inKernel(t, metaOnly)
		s.upperToLayer()
		s.inKernel(t, "chmod 444 same renamed; mv renamed twice; mv d/away d/twice; chmod 400 e2/deep2/in; mv e2/deep2 d2; chmod 466 hard2")
		if n := len(metacopies(t, s.upper)); n < 4 {
			t.Fatalf("the fixture is wrong: the kernel made %d metacopies of metacopies", n)
		}
		s.upperToLayer()
		want := s.inKernel(t, "")
		s.mount("--io", io)
		if d := differences(want, withTimes(t, s.mnt)); d != "" {
			t.Errorf("we show another tree than the kernel:\n%s", d)
		}
		if st := lstat(t, s.in("twice")); st.Blocks*512 < 300_000 {
			t.Errorf("a file of 300000 bytes shows %d blocks", st.Blocks)
		}
		plain := s.plainCopy(t)
		for _, b := range []string{plain, s.mnt} {
			mustShell(t, b, "echo more >> same; chmod 600 twice; mv d/twice d/thrice; mv d2 d3; truncate -s 7 d3/in; ln written e2/hard; echo x >> hard3")
		}
		wantData := func(when string) {
			t.Helper()
			if d := differences(uncounted(t, plain), uncounted(t, s.mnt)); d != "" {
				t.Errorf("%s:\n%s", when, d)
			}
		}
		wantData("after the changes")
		s.remount()
		wantData("after a remount")
		s.sameInKernel(t)
	})
}

// uncounted describes a tree without link counts: a lower's own count includes
// names that a layer above has hidden, here as in the kernel.
func uncounted(t *testing.T, root string) map[string]string {
	tree := describe(t, root, nil)
	for path, line := range tree {
		tree[path] = regexp.MustCompile(` nlink \d+`).ReplaceAllString(line, "")
	}
	return tree
}

// TestMetacopyWithoutData: what can't be found is an error, never zeros, and the file can be looked at, emptied and removed.
func TestMetacopyWithoutData(t *testing.T) {
	breaks := map[string]func(t *testing.T, base, file string){
		"the data is gone":   func(t *testing.T, base, _ string) { must(t, os.Remove(base+"/same")) },
		"the data is hidden": func(t *testing.T, base, _ string) { must(t, os.Remove(base+"/same")); mkdir(t, base+"/same") },
		"the redirect is not one": func(t *testing.T, _, file string) {
			must(t, unix.Setxattr(file, "trusted.overlay.redirect", []byte("/../x"), 0))
		},
		"a mark of anybody's": func(t *testing.T, _, file string) {
			must(t, unix.Removexattr(file, "trusted.overlay.metacopy"))
			must(t, unix.Setxattr(file, "user.overlay.metacopy", nil, 0))
		},
	}
	for _, kind := range []string{"upper", "lower"} {
		for what, damage := range breaks {
			if kind == "upper" && what == "a mark of anybody's" {
				continue // an upper's marks are in one namespace: elsewhere it is a program's attribute
			}
			aside(t, kind+", "+what, func(t *testing.T) {
				s := newSite(t, 1)
				write(t, s.lowers[0]+"/same", strings.Repeat("x", 10_000))
				write(t, s.lowers[0]+"/other", "other")
				s.inKernel(t, "chmod 600 same other")
				damage(t, s.lowers[0], s.upper+"/same")
				if kind == "lower" {
					s.upperToLayer()
				}
				s.mount()
				_, err := os.ReadFile(s.in("same"))
				wantErrno(t, "read", err, unix.EIO)
				wantErrno(t, "copy-up", addTo(s.in("same"), "more"), unix.EIO)
				if log, _ := os.ReadFile(s.root + "/log/m.log"); !strings.Contains(string(log), "metacopy") && !strings.Contains(string(log), "redirect") {
					t.Errorf("the log says nothing of it: %s", log)
				}
				if st := lstat(t, s.in("same")); st.Size != 10_000 {
					t.Errorf("size %d", st.Size)
				}
				wantListing(t, s.mnt, "other", "same")
				wantContent(t, s.in("other"), "other")
				must(t, os.WriteFile(s.in("same"), []byte("anew"), 0))
				wantContent(t, s.in("same"), "anew")
				s.remount()
				wantContent(t, s.in("same"), "anew")
				must(t, os.Remove(s.in("same")))
				wantListing(t, s.mnt, "other")
			})
		}
	}
}

// addTo appends, and says why it can't.
func addTo(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close()) // what was held back fails at close
}

// ours is what is left without data after metaOnly in a union of ours: what moved or has several names got it.
var ours = []string{"caps", "cut", "e2/deep2/in", "e2/in", "holes", "same", "setid", "written"}

// TestMetacopyOfOurs: changes of attributes copy no data up, however often, and whatever reads such a file then, and
// whoever mounts it, finds the data; a change of the data copies it.
func TestMetacopyOfOurs(t *testing.T) {
	need(t, "setcap", "setfattr")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, s.lowers[0], large)
		s.mount("--io", io, "-o", "metacopy=on")
		plain := s.plainCopy(t)
		for _, b := range []string{plain, s.mnt} {
			mustShell(t, b, metaOnly+"chmod 600 same; chown 7:8 written; touch -d 2012-02-02 caps; setfattr -n user.l -v w holes")
		}
		sameTree(t, "after changes of attributes", plain, s.mnt)
		s.wantMetacopies(t, ours...)
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
		s.sameInKernel(t)
		s.must("rm", s.name)
		s.mount("--io", io)
		for _, b := range []string{plain, s.mnt} {
			mustShell(t, b, "echo more >> written; truncate -s 100 cut; mv same same2; ln setid setid2; echo x >> e2/in; : > holes; echo y | dd of=caps bs=1 seek=5 conv=notrunc status=none; chmod 600 e2/deep2/in")
		}
		sameTree(t, "after changes of data", plain, s.mnt)
		s.wantMetacopies(t)
		s.remount()
		sameTree(t, "after the second remount", plain, s.mnt)
	})
}

// wantMetacopies checks which files of the upper are metacopies, and that they hold no data.
func (s *site) wantMetacopies(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, path := range metacopies(t, s.upper) {
		if st := lstat(t, path); st.Blocks > 8 { // attributes may have a block of their own
			t.Errorf("%s has %d blocks", path, st.Blocks)
		}
		got = append(got, strings.TrimPrefix(path, s.upper+"/"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("metacopies: %v, want %v", got, want)
	}
}

// TestMetacopyOfAnOpenFile: whoever has a file open goes on reading it, also when its name is gone.
func TestMetacopyOfAnOpenFile(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		for _, name := range []string{"kept", "gone", "written"} {
			write(t, s.lowers[0]+"/"+name, strings.Repeat(name, 10_000))
		}
		s.mount("--io", io, "-o", "metacopy=on")
		for _, name := range []string{"kept", "gone", "written"} {
			f, err := os.OpenFile(s.in(name), os.O_RDONLY, 0)
			must(t, err)
			defer f.Close()
			if name == "gone" {
				must(t, os.Remove(s.in(name)))
			}
			must(t, f.Chmod(0o640))
			want := strings.Repeat(name, 10_000)
			if name == "written" {
				must(t, addTo(s.in(name), "more"))
				want += "more"
			}
			got := make([]byte, len(want)+1)
			n, err := f.ReadAt(got, 0)
			if string(got[:n]) != want {
				t.Errorf("%s: read %d bytes, %v: not what it holds", name, n, err)
			}
			if st, err := f.Stat(); err != nil || st.Mode() != 0o640 {
				t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
			}
		}
		s.wantMetacopies(t, "kept")
	})
}

// TestMetacopyIsSynced: fsync(2) of a metacopy makes its attributes durable, though its data lies elsewhere.
func TestMetacopyIsSynced(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		disk := s.upperOnDisk("64M", "mkfs.ext4", "-q")
		write(t, s.lowers[0]+"/file", strings.Repeat("x", 10_000))
		s.mount("--io", io, "-o", "metacopy=on")
		must(t, os.Chmod(s.in("file"), 0o640))
		mustRun(t, "sync", "-f", disk)
		f, err := os.Open(s.in("file"))
		must(t, err)
		defer f.Close()
		must(t, errors.Join(f.Chmod(0o611), f.Sync()))
		mustShell(t, s.dir, "cp disk.img cut.img; mkdir cut; mount -o loop cut.img cut") // as a power cut would leave it
		defer unmount(t, s.dir+"/cut")
		if st := lstat(t, s.dir+"/cut/upper/file"); st.Mode&0o777 != 0o611 {
			t.Errorf("mode %o after the power was cut", st.Mode&0o777)
		}
		if got := metacopies(t, s.dir+"/cut"); len(got) != 1 {
			t.Errorf("metacopies: %v", got)
		}
	})
}
