package cow

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Errors of OpenWriter that callers tell apart.
var (
	ErrInUse       = errors.New("in use by another mount: unmount that first (unionmount ls)")
	ErrUnsupported = errors.New("the file system lacks what an upper needs (ext4, xfs, btrfs and tmpfs have it)")
	ErrMarks       = errors.New("the upper's marks can't say it")
)

// Writer changes one upper.
type Writer struct {
	Upper  *layers.Layer
	Prefix string   // of the marks it writes; immutable
	Inject Injector // nil in production; set before first use

	plain    bool // a volume: in place, no marks
	volatile bool
	noACL    bool
	metacopy bool // a change of a file's attributes leaves its data below
	devices  bool // whiteouts can be devices, renames can leave one behind
	nameless bool // files can be made without a name and get one later
	ordered  bool // names reach the disk after data written back before them (order.go)

	euid, egid int // the daemon's

	base  int // descriptor of work itself, holding a flock
	guard int // descriptor of upper's root, holding another: two works must not share an upper
	work  int // work/work: staging
	index int // work/index; -1 without
	links int // unionmount.links; -1 without
	seq   atomic.Uint64
	made  []string // of these in work, by this opening

	later later

	whiteMu  sync.Mutex
	whiteout string // guarded by whiteMu: name in work of the device that is linked for each whiteout
}

// Options of an upper.
type Options struct {
	UserXattr bool // marks in user.overlay.*, whoever mounts
	Volatile  bool
	NoACL     bool
	NoIndex   bool
	Metacopy  bool // StageCopy may leave a file's data below; never with marks in user.*
}

const (
	volatileMark = "incompat/volatile"
	marksFile    = "unionmount.marks"
	linksDir     = "unionmount.links" // the index of what has no handle: entries in work/index that the kernel can't read stop it
)

// OpenWriter takes the lock on work, checks that upper's file system has what an
// upper needs, decides the namespace of the marks and sweeps what a crash left.
func OpenWriter(upper *layers.Layer, work string, o Options) (*Writer, error) {
	w := &Writer{Upper: upper, volatile: o.Volatile, noACL: o.NoACL, metacopy: o.Metacopy, euid: sys.Geteuid(), egid: sys.Getegid(), base: -1, guard: -1, work: -1, index: -1, links: -1}
	if err := w.open(work, o); err != nil {
		for _, name := range w.made {
			_ = sys.RmdirAt(w.base, name) // an upper that is refused keeps nothing of ours; what isn't empty is in use
		}
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) open(work string, o Options) (err error) {
	if w.base, err = sys.Open(work, sys.O_RDONLY|sys.O_DIRECTORY); err != nil {
		return fmt.Errorf("open work %s: %w", work, err)
	}
	if err = own(w.base); err == nil {
		err = stillThere(w.base)
	}
	if err != nil {
		return fmt.Errorf("lock work %s: %w", work, err)
	}
	if w.guard, err = w.Upper.Open("", sys.O_RDONLY|sys.O_DIRECTORY); err != nil {
		return fmt.Errorf("open upper %s: %w", w.Upper.Path, err)
	}
	if err = own(w.guard); err != nil {
		return fmt.Errorf("lock upper %s: %w", w.Upper.Path, err)
	}
	w.ordered = w.keepsOrder()
	if err = w.refuseVolatile(work); err != nil {
		return err
	}
	if w.work, err = w.subdir("work"); err != nil {
		return fmt.Errorf("make %s/work: %w", work, err)
	}
	if err = w.sweep(); err != nil {
		return fmt.Errorf("sweep %s/work: %w", work, err)
	}
	if err = w.probe(o); err != nil {
		return fmt.Errorf("upper %s: %w", w.Upper.Path, err)
	}
	if !o.NoIndex {
		if w.index, err = w.subdir("index"); err != nil {
			return fmt.Errorf("make %s/index: %w", work, err)
		}
		if w.links, err = w.subdir(linksDir); err != nil {
			return fmt.Errorf("make %s/%s: %w", work, linksDir, err)
		}
		if err = w.sweepIndex(); err != nil {
			return fmt.Errorf("sweep the index in %s: %w", work, err)
		}
	}
	if o.Volatile {
		err = os.MkdirAll(filepath.Join(work, "work", volatileMark), 0o700)
	}
	return err
}

// PlainWriter changes a volume: in place, without marks.
func PlainWriter(tree *layers.Layer) *Writer {
	return &Writer{Upper: tree, plain: true, euid: sys.Geteuid(), egid: sys.Getegid(), base: -1, guard: -1, work: -1, index: -1, links: -1}
}

// Close gives up the lock and the descriptors; the upper layer stays its owner's.
func (w *Writer) Close() {
	w.Settle()
	for _, fd := range []int{w.links, w.index, w.work, w.guard, w.base} {
		if fd >= 0 {
			_ = sys.Close(fd) // directories: nothing to lose
		}
	}
}

// Index is the read side of work/index; nil without.
func (w *Writer) Index() *layers.Index {
	if w.index < 0 {
		return nil
	}
	return &layers.Index{Dir: w.index, Links: w.links, Prefix: w.Prefix}
}

// indexDir is where the indexed object of that name is.
func (w *Writer) indexDir(name string) int {
	if layers.OwnName(name) {
		return w.links
	}
	return w.index
}

func (w *Writer) refuseVolatile(work string) error {
	mark := filepath.Join(work, "work", volatileMark)
	if _, err := os.Lstat(mark); err == nil {
		return fmt.Errorf("upper was mounted volatile and may be damaged by a crash: check it, then remove %s", mark)
	}
	return nil
}

func (w *Writer) subdir(name string) (int, error) {
	switch err := sys.MkdirAt(w.base, name, 0o700); err {
	case nil:
		w.made = append(w.made, name)
	case sys.EEXIST:
	default:
		return -1, err
	}
	fd, err := sys.OpenAt(w.base, name, sys.O_RDONLY|sys.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	return fd, closeOn(fd, disinherit(fd))
}

// disinherit keeps a directory of ours from handing ACLs or a group, which it may
// have from the work directory itself, on to what is staged in it (ovl_workdir_create).
func disinherit(fd int) error {
	for _, acl := range [...]string{aclDefault, aclAccess} {
		err := sys.RemoveXattrFd(fd, acl)
		if err != nil && err != sys.ENODATA && err != sys.ENOTSUP {
			return err
		}
	}
	st, err := sys.StatFd(fd)
	if err != nil || st.Mode&sys.S_ISGID == 0 {
		return err
	}
	return sys.ChmodFd(fd, st.Mode&0o1777)
}

// sweep removes what a crash left in staging: nothing there was ever visible.
func (w *Writer) sweep() error {
	var names []string
	if err := sys.ReadDir(w.work, func(e sys.Dirent) error {
		names = append(names, e.Name)
		return nil
	}); err != nil {
		return err
	}
	for _, n := range names {
		if err := w.destroy(w.work, n); err != nil {
			return fmt.Errorf("remove %q: %w", n, err)
		}
	}
	return nil
}

// ignore drops one errno that means "already so".
func ignore(err error, as sys.Errno) error {
	if err == as {
		return nil
	}
	return err
}

// temp draws a name in work that nobody has: "#" and a number, as the kernel's (ovl_tempname).
func (w *Writer) temp() string { return "#" + strconv.FormatUint(w.seq.Add(1), 16) }

// probe finds out what the file system of upper can do.
func (w *Writer) probe(o Options) error {
	name := w.temp()
	fd, err := sys.OpenAt(w.work, name, sys.O_RDWR|sys.O_CREAT|sys.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create in work: %w", err)
	}
	defer sys.Close(fd)
	defer func() { _ = sys.UnlinkAt(w.work, name) }() // swept at the next mount at the latest
	if err := w.probeUpper(name); err != nil {
		return err
	}
	w.nameless = w.probeNameless()
	if w.Prefix, err = w.choosePrefix(fd, o.UserXattr); err != nil {
		return err
	}
	if o.Metacopy && w.Prefix == layers.PrefixUser { // anybody may set those, and nobody follows them (readMetacopy)
		return fmt.Errorf("%w: metacopy=on where marks are in %s*: leave it out", ErrMarks, w.Prefix)
	}
	if w.devices = w.probeWhiteout(name); !w.devices {
		if err := w.probeAufs(name); err != nil {
			return err
		}
	}
	return w.recordPrefix()
}

// probeUpper makes sure that work and upper lie in one mount of one file system that can exchange names.
func (w *Writer) probeUpper(name string) error {
	d, err := w.Upper.Dir("")
	if err != nil {
		return err
	}
	defer d.Release()
	// An exchange with a name that isn't there says ENOENT where both sides could be exchanged.
	err = sys.RenameAt(w.work, name, d.Fd, ".unionmount-probe-"+name[1:], sys.RENAME_EXCHANGE)
	switch err {
	case sys.ENOENT:
		return nil
	case sys.EXDEV:
		return fmt.Errorf("work is on another file system or mount: %w", err)
	case sys.EROFS:
		return fmt.Errorf("read-only file system: %w", err)
	case sys.EACCES, sys.EPERM:
		return fmt.Errorf("no permission to change it: %w", err)
	case sys.EINVAL, sys.ENOSYS:
		return fmt.Errorf("%w: no RENAME_EXCHANGE", ErrUnsupported)
	}
	return err
}

// choosePrefix decides where marks go: as recorded, as asked, trusted where possible, else user.
func (w *Writer) choosePrefix(fd int, user bool) (string, error) {
	recorded, err := os.ReadFile(sys.ProcPath(w.base) + "/" + marksFile)
	was := string(recorded)
	can := func(prefix string) bool { return sys.SetXattrFd(fd, prefix+"probe", []byte("y"), 0) == nil }
	switch {
	case err == nil && was == layers.PrefixTrusted && user:
		return "", fmt.Errorf("its marks are in %s*: mount it without userxattr", was)
	case err == nil && (was == layers.PrefixTrusted || was == layers.PrefixUser):
		if !can(was) {
			return "", fmt.Errorf("its marks are in %s*, which this user can't write: mount it as root", was)
		}
		return was, nil
	case !user && can(layers.PrefixTrusted):
		return layers.PrefixTrusted, nil
	case can(layers.PrefixUser):
		return layers.PrefixUser, nil
	}
	return "", fmt.Errorf("%w: neither trusted.* nor user.* attributes", ErrUnsupported)
}

func (w *Writer) recordPrefix() error {
	fd, err := sys.OpenAt(w.base, marksFile, sys.O_WRONLY|sys.O_CREAT|sys.O_EXCL, 0o644)
	if err == sys.EEXIST {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = sys.Pwrite(fd, []byte(w.Prefix), 0, 0)
	return errors.Join(err, sys.Close(fd))
}

// probeAufs makes sure that whiteouts can at least be files: not so where upper lies in a union itself.
func (w *Writer) probeAufs(name string) error {
	fd, err := sys.OpenAt(w.work, layers.AufsWhiteout(name), sys.O_WRONLY|sys.O_CREAT|sys.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%w: whiteouts can be neither devices 0/0 nor files .wh.* there: %w", ErrUnsupported, err)
	}
	return errors.Join(sys.Close(fd), sys.UnlinkAt(w.work, layers.AufsWhiteout(name)))
}

// probeNameless tells whether a file can be made without a name (O_TMPFILE) and linked.
func (w *Writer) probeNameless() bool {
	fd, err := sys.OpenAt(w.work, ".", sys.O_RDWR|sys.O_TMPFILE, 0o600)
	if err != nil {
		return false
	}
	defer sys.Close(fd)
	name := w.temp()
	if err := sys.LinkFd(fd, w.work, name); err != nil {
		return false
	}
	return sys.UnlinkAt(w.work, name) == nil
}

// probeWhiteout tells whether devices 0/0 can be made and left behind by a rename.
func (w *Writer) probeWhiteout(name string) bool {
	to := w.temp()
	if err := sys.RenameAt(w.work, name, w.work, to, sys.RENAME_WHITEOUT); err != nil {
		return false
	}
	st, err := sys.StatAt(w.work, name)
	_ = sys.UnlinkAt(w.work, to)
	return err == nil && layers.IsWhiteout(&st)
}

// StampRoots ties index and upper together in the kernel's form, so that a kernel
// overlay with index=on accepts them: the origin of the root, the upper of the index.
func (w *Writer) StampRoots(s *layers.Stack) error {
	if w.index < 0 || len(s.Lowers) == 0 {
		return nil
	}
	root, err := w.Upper.Dir("")
	if err != nil {
		return err
	}
	defer root.Release()
	if _, err := sys.GetXattrFd(root.Fd, w.Prefix+layers.SuffixOrigin); err == sys.ENODATA {
		if h, err := s.Handle(layers.Ref{Layer: 0}); err == nil && h != nil {
			if err := w.setMark(root.Fd, layers.SuffixOrigin, h); err != nil {
				return err
			}
		}
	}
	if _, err := sys.GetXattrFd(w.index, w.Prefix+layers.SuffixUpper); err == sys.ENODATA {
		if h, err := layers.EncodeHandle(root.Fd, "", w.Upper.UUID, true); err == nil {
			return w.setMark(w.index, layers.SuffixUpper, h)
		}
	}
	return nil
}

// ClearVolatile says that a volatile upper was unmounted in order: everything is synced and the mark goes.
func (w *Writer) ClearVolatile() error {
	if !w.volatile || w.work < 0 {
		return nil
	}
	if err := sys.SyncFS(w.work); err != nil {
		return err
	}
	return w.destroy(w.work, "incompat")
}
