package cow_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// bench is one lower under one upper, without a mount.
type bench struct {
	t           *testing.T
	lower, work string
	s           *layers.Stack
	w           *cow.Writer
}

// fixture fills the lower, and the upper as far as an operation needs it.
const fixture = `
set -e
cd lower
mkdir -p dir/sub full gone
echo content > file; ln -s target link
mkfifo fifo
mknod char c 1 3
echo two > hard1; ln hard1 hard2
truncate -s 1M sparse; echo x >> sparse
echo below > meta
echo a > full/a; echo s > dir/sub/s; echo g > gone/g; echo w > white
chown -h 12:34 file link fifo char dir hard1 sparse; chmod 4755 file; chmod 640 sparse
setfattr -n user.k -v v file dir hard1; setfattr -h -n trusted.k -v v link fifo char
find . ! -type d -exec touch -h -m -d 2001-02-03T04:05:06.7 {} +
find . -depth -exec touch -h -a -d 2040-01-01 {} + # later than any change: looking at it leaves it alone
cd ../upper
mkdir new merged; echo n > new/n
truncate -s 6 meta; chmod 600 meta; setfattr -n trusted.overlay.metacopy meta
mknod white c 0 0
mkdir full; mknod full/a c 0 0
`

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to make devices and trusted attributes")
	}
	base := t.TempDir()
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", fixture)
	cmd.Dir = base
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fixture: %v\n%s", err, out)
	}
	b := &bench{t: t, lower: filepath.Join(base, "lower"), work: filepath.Join(base, "work")}
	lower, err := layers.OpenLower(b.lower, 8)
	if err != nil {
		t.Fatal(err)
	}
	upper, err := layers.OpenUpper(filepath.Join(base, "upper"), 8)
	if err != nil {
		t.Fatal(err)
	}
	if b.w, err = cow.OpenWriter(upper, b.work, cow.Options{Metacopy: true}); err != nil {
		t.Fatal(err)
	}
	b.s = &layers.Stack{Upper: upper, Lowers: []*layers.Layer{lower}, Index: b.w.Index(),
		IDs: layers.NewIdentity(upper.Dev, lower.Dev), MarksPrefix: b.w.Prefix}
	t.Cleanup(func() {
		b.w.Close()
		if err := errors.Join(lower.Close(), upper.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// view is what the union shows: every path with all that can be seen of it.
func (b *bench) view() map[string]string {
	b.t.Helper()
	root, err := b.s.Root()
	if err != nil {
		b.t.Fatal(err)
	}
	out := make(map[string]string)
	b.walk(root, "", out)
	return out
}

func (b *bench) walk(dir *layers.Entry, at string, out map[string]string) {
	b.t.Helper()
	err := b.s.List(dir, at, func(n layers.Name) error {
		p := layers.Join(at, n.Name)
		e, err := b.s.Lookup(dir, at, n.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if e.Ino != n.Ino {
			b.t.Errorf("%s: listed as inode %d, found as %d", p, n.Ino, e.Ino)
		}
		out[p] = b.looks(p, e)
		if e.IsDir() {
			b.walk(e, p, out)
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

// looks tells all of an object but its number and, of a directory, size and times.
func (b *bench) looks(p string, e *layers.Entry) string {
	b.t.Helper()
	fd, err := b.pathFd(p, e)
	if err != nil {
		b.t.Fatal(err)
	}
	defer sys.Close(fd)
	st := e.Stat.Full()
	out := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFREG:
		out += " " + b.content(fd, e)
	case sys.S_IFLNK:
		target, err := sys.ReadlinkAt(fd, "")
		if err != nil {
			b.t.Fatal(err)
		}
		out += " to " + target
	case sys.S_IFCHR:
		out += fmt.Sprintf(" device %d", st.Rdev)
	}
	if st.Mode&sys.S_IFMT != sys.S_IFDIR && st.Mtim.Sec < 1_500_000_000 { // else it is the bench's own time
		out += fmt.Sprintf(" at %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	return out + b.attributes(fd)
}

// pathFd opens an O_PATH descriptor of what an entry shows.
func (b *bench) pathFd(p string, e *layers.Entry) (int, error) {
	switch {
	case e.Index() != "":
		return b.s.Index.PathFd(e.Index())
	case e.Upper:
		return b.s.Upper.PathFd(p)
	}
	return b.s.Lowers[e.Lower().Layer].PathFd(e.Lower().Path)
}

// content sums up what unionfs reads of the file behind fd.
func (b *bench) content(fd int, e *layers.Entry) string {
	b.t.Helper()
	from, err := sys.Reopen(fd, sys.O_RDONLY)
	if e.Data() != nil {
		_ = sys.Close(from)
		from, err = b.s.OpenData(e.Data().Ref)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer sys.Close(from)
	buf := make([]byte, e.Stat.Size)
	n, err := sys.Pread(from, buf, 0, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%d bytes, %x", e.Stat.Size, sha256.Sum256(buf[:n]))
}

// attributes lists those of the object that are not marks.
func (b *bench) attributes(fd int) (out string) {
	b.t.Helper()
	names, err := sys.ListXattrFd(fd)
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(names)
	for _, n := range names {
		if layers.Private(n) {
			continue
		}
		v, err := sys.GetXattrFd(fd, n)
		if err != nil {
			b.t.Fatal(err)
		}
		out += fmt.Sprintf(" %s=%q", n, v)
	}
	return out
}

func (b *bench) entry(p string) *layers.Entry {
	b.t.Helper()
	e, err := b.s.Root()
	if err != nil {
		b.t.Fatal(err)
	}
	dir, name := layers.Split(p)
	if dir != "" {
		e = b.entry(dir)
	}
	found, err := b.s.Lookup(e, dir, name)
	if err != nil {
		b.t.Fatalf("%s: %v", p, err)
	}
	return found
}

func (b *bench) copyUp(p string, limit int64) error {
	e := b.entry(p)
	st, err := b.w.StageCopy(b.s, e.Lower(), limit)
	if err != nil {
		return err
	}
	defer st.Close()
	if st.Index() != "" {
		return st.PublishIndex()
	}
	dir, name := layers.Split(p)
	return st.Publish(dir, name)
}

func (b *bench) create(dir, name string, mode uint32, hides bool) error {
	fd, err := b.w.Create(dir, name, cow.New{Mode: mode, Umask: 0o22, Uid: 7, Gid: 8, Target: "t", Hides: hides})
	if err == nil {
		err = sys.Close(fd)
	}
	return err
}

func (b *bench) complete(p string, limit int64) error {
	fd, err := b.s.Upper.PathFd(p)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	e := b.entry(p)
	if e.Data() == nil {
		return errors.New("it is no metacopy")
	}
	return b.w.Complete(b.s, fd, e.Data().Ref, limit)
}

// operations are what may fail at every step.
var operations = map[string]func(b *bench) error{
	"copy up a file":           func(b *bench) error { return b.copyUp("file", cow.Whole) },
	"copy up a file cut short": func(b *bench) error { return b.copyUp("sparse", 0) },
	"copy up a sparse file":    func(b *bench) error { return b.copyUp("sparse", cow.Whole) },
	"copy up no data":          func(b *bench) error { return b.copyUp("sparse", cow.NoData) },
	"copy up a file, staged under a name": func(b *bench) error {
		b.w.NameStaged()
		return b.copyUp("file", cow.Whole)
	},
	"copy up a hard link, staged under a name": func(b *bench) error {
		b.w.NameStaged()
		return b.copyUp("hard1", cow.Whole)
	},
	"copy up a link":      func(b *bench) error { return b.copyUp("link", cow.Whole) },
	"copy up a fifo":      func(b *bench) error { return b.copyUp("fifo", cow.Whole) },
	"copy up a device":    func(b *bench) error { return b.copyUp("char", cow.Whole) },
	"copy up a directory": func(b *bench) error { return b.copyUp("dir", cow.Whole) },
	"copy up directories": func(b *bench) error {
		st, _, err := b.w.StageDirs(b.s, []cow.DirCopy{{Ref: b.entry("dir").Lower()}, {Ref: b.entry("dir/sub").Lower(), Name: "sub"}})
		if err != nil {
			return err
		}
		defer st.Close()
		return st.Publish("", "dir")
	},
	"copy up a hard link":           func(b *bench) error { return b.copyUp("hard1", cow.Whole) },
	"complete a metacopy":           func(b *bench) error { return b.complete("meta", cow.Whole) },
	"complete a metacopy cut short": func(b *bench) error { return b.complete("meta", 2) },
	"create a file over a whiteout": func(b *bench) error {
		return b.create("", "white", sys.S_IFREG|0o644, true)
	},
	"create a directory over a whiteout": func(b *bench) error {
		return b.create("", "white", sys.S_IFDIR|0o755, true)
	},
	"create a link over a whiteout": func(b *bench) error { return b.create("", "white", sys.S_IFLNK|0o777, true) },
	"create a file":                 func(b *bench) error { return b.create("new", "f", sys.S_IFREG|0o4644, false) },
	"create a fifo":                 func(b *bench) error { return b.create("new", "f", sys.S_IFIFO|0o644, false) },
	"unlink a lower file":           func(b *bench) error { return b.w.Unlink("", "file", false, true) },
	"unlink an upper file":          func(b *bench) error { return b.w.Unlink("new", "n", true, false) },
	"remove a lower directory":      func(b *bench) error { return b.w.Rmdir("", "gone", false, true) },
	"remove a directory of whiteouts": func(b *bench) error {
		return b.w.Rmdir("", "full", true, true)
	},
	"rename a directory": func(b *bench) error {
		_, err := b.w.Rename(cow.Move{OldName: "new", NewName: "white", Dir: true, Opaque: true, Hides: true})
		return err
	},
	"rename a merged directory over an empty one": func(b *bench) error {
		_, err := b.w.Rename(cow.Move{OldName: "merged", NewName: "full", Dir: true, Opaque: true, ReplacesDir: true, Hides: true})
		return err
	},
	"rename a file away": func(b *bench) error {
		_, err := b.w.Rename(cow.Move{OldDir: "new", OldName: "n", NewName: "white", Hides: true})
		return err
	},
	"exchange": func(b *bench) error {
		return b.w.Exchange(cow.Side{Name: "new", IsDir: true, Opaque: true}, cow.Side{Name: "full", IsDir: true, Redirect: "/full"})
	},
}

var errInjected = errors.New("injected")

// TestEveryStepMayFail fails the i-th step of each operation, for every i until
// it succeeds: what the union shows is the old state or the new one, the lower
// is as it was, and the next opening finds nothing left in work.
func TestEveryStepMayFail(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			done := newBench(t)
			old := done.view()
			if err := op(done); err != nil {
				t.Fatal(err)
			}
			after := done.view()
			if strings.HasPrefix(name, "co") && !strings.HasSuffix(name, "cut short") && !maps.Equal(old, after) { // copy up, complete
				t.Errorf("it shows:\n before %v\n after  %v", old, after)
			}
			for i := 0; ; i++ {
				b := newBench(t)
				before, lower := b.view(), sum(t, b.lower)
				n := 0
				b.w.Inject = func(step string) error {
					if n++; n == i+1 {
						return fmt.Errorf("%w at %s", errInjected, step)
					}
					return nil
				}
				err := op(b)
				b.w.Inject = nil
				now := b.view()
				if !maps.Equal(now, before) && !maps.Equal(now, after) {
					t.Errorf("step %d: neither old nor new:\n now    %v\n before %v\n after  %v", i, now, before, after)
				}
				if got := sum(t, b.lower); got != lower {
					t.Errorf("step %d: the lower has changed", i)
				}
				b.reopen()
				if err == nil {
					if i == 0 || n > i {
						t.Errorf("step %d of %d: a failure is no error", i, n)
					}
					return
				}
				if !errors.Is(err, errInjected) {
					t.Fatalf("step %d: %v", i, err)
				}
			}
		})
	}
}

// reopen takes the upper up again as the next mount does and looks at work.
func (b *bench) reopen() {
	b.t.Helper()
	b.w.Close()
	w, err := cow.OpenWriter(b.s.Upper, b.work, cow.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.w = w
	b.s.Index = w.Index()
	left, err := os.ReadDir(filepath.Join(b.work, "work"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range left {
		b.t.Errorf("left in work: %s", l.Name())
	}
}

// sum describes a lower tree in every respect, access times included.
func sum(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$0" && find . -printf '%p %i %n %m %U %G %s %l %A@ %T@ %C@\n' | sort && getfattr -dhR -m - . | sort`, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
