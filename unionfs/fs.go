package unionfs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/transport"
)

// FS is one union: its layers, its upper, its volumes, and, once mounted, its connection.
type FS struct {
	cfg    Config
	union  *tree
	trees  []*tree // the union and every volume
	acl    bool    // POSIX ACLs are offered
	server *transport.Server

	passthrough bool  // a volume's data may be reached by the file itself
	setid       bool  // our writes leave setuid and setgid alone (CAP_FSETID)
	onceFrom    int64 // size of files that are kept in memory once, by the kernel's union alone

	renameMu sync.RWMutex // see doc.go
	countMu  sync.Mutex   // see doc.go
	table    table
	data     descriptors
	handles  handles
	locks    lockFiles
	lists    lists
	held     heldBack

	mounted    atomic.Bool
	fineStamps atomic.Bool // upper stamps finer than by the clock's tick (mtime.go)
}

// tree is the union or one volume: a stack, who changes it, and its root.
type tree struct {
	fs     *FS
	stack  *layers.Stack
	writer *cow.Writer // nil: read-only
	root   *node
	nodes  map[uint64]*node // by st_ino; guarded by table.mu
	shared bool             // a volume: the host and other mounts change it too

	aliased atomic.Bool // nodes has some by two numbers (alias.go)
}

// dirDescriptors bounds the directory descriptors kept for one layer, so that
// all of them together stay below a quarter of what the process may have.
func dirDescriptors(limit uint64, layers int) int {
	return int(max(4, min(1024, limit/4/uint64(layers+1))))
}

// mostDescriptors is about what all that is kept open comes to, in a mount of few layers.
const mostDescriptors = 8192

// Open opens every layer root, takes the lock on work, sweeps what a crash left
// there and checks that the upper's filesystem has what an upper needs.
// Nothing is mounted; Close undoes it.
func Open(cfg Config) (fs *FS, err error) {
	if len(cfg.Lowers) == 0 {
		return nil, errors.New("no layers: name one at least")
	}
	if cfg.Upper != "" && cfg.Work == "" {
		return nil, fmt.Errorf("upper %s: a work directory on its file system is needed", cfg.Upper)
	}
	limit, err := sys.RaiseNoFile()
	if err != nil {
		return nil, fmt.Errorf("raise the limit of open files: %w", err)
	}
	go func() {
		if err := sys.RoomForDescriptors(min(limit, mostDescriptors)); err != nil {
			cfg.Log.Info("no room made for descriptors, requests will wait while it grows", "error", err)
		}
	}()
	sys.Umask(0)
	fs = &FS{cfg: cfg, acl: !cfg.NoACL, onceFrom: sys.Memory() / ofMemory}
	fs.data.init(int(max(16, min(4096, limit/4))))
	fs.handles.init()
	defer func() {
		if err != nil {
			_ = fs.Close()
			fs, err = nil, classify(err)
		}
	}()
	if err = fs.openUnion(dirDescriptors(limit, len(cfg.Lowers))); err != nil {
		return fs, err
	}
	for _, v := range cfg.Volumes {
		if err = fs.Attach(v); err != nil {
			return fs, err
		}
	}
	fs.setid = sys.HasCap(sys.CAP_FSETID)
	return fs, nil
}

// classify lets callers tell errors of lower packages apart by ours.
func classify(err error) error {
	switch {
	case errors.Is(err, cow.ErrInUse):
		return fmt.Errorf("%w: %w", ErrInUse, err)
	case errors.Is(err, cow.ErrUnsupported), errors.Is(err, cow.ErrMarks):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

func (fs *FS) openUnion(dirCap int) error {
	t := &tree{fs: fs, stack: &layers.Stack{MarksPrefix: layers.PrefixTrusted}}
	fs.union = t
	fs.trees = append(fs.trees, t)
	for _, p := range fs.cfg.Lowers {
		l, err := layers.OpenLower(p, dirCap)
		if err != nil {
			return fmt.Errorf("open layer %s: %w", p, err)
		}
		t.stack.Lowers = append(t.stack.Lowers, l)
	}
	if fs.cfg.Upper != "" {
		if err := fs.openUpper(t, dirCap); err != nil {
			return err
		}
	}
	user := t.stack.MarksPrefix == layers.PrefixUser
	t.stack.NoFollow = fs.cfg.Redirect == RedirectNoFollow
	t.stack.FollowUser = user && fs.cfg.Redirect == RedirectOn
	t.stack.IDs = layers.NewIdentity(t.devices()...)
	e, err := t.stack.Root()
	if err != nil {
		return fmt.Errorf("read the root of the union: %w", err)
	}
	t.root = fs.table.addRoot(t, e)
	return nil
}

func (fs *FS) openUpper(t *tree, dirCap int) error {
	u, err := layers.OpenUpper(fs.cfg.Upper, dirCap)
	if err != nil {
		return fmt.Errorf("open upper %s: %w", fs.cfg.Upper, err)
	}
	t.stack.Upper = u
	t.writer, err = cow.OpenWriter(u, fs.cfg.Work, cow.Options{
		UserXattr: fs.cfg.UserXattr, Volatile: fs.cfg.Volatile, NoACL: fs.cfg.NoACL, Metacopy: fs.cfg.Metacopy,
	})
	if err != nil {
		return err
	}
	t.stack.Index = t.writer.Index()
	t.stack.MarksPrefix = t.writer.Prefix
	return t.writer.StampRoots(t.stack)
}

// devices lists the stack's devices in the order of Identity's slots.
func (t *tree) devices() []uint64 {
	var devs []uint64
	if t.stack.Upper != nil {
		devs = append(devs, t.stack.Upper.Dev)
	}
	for i := len(t.stack.Lowers) - 1; i >= 0; i-- {
		devs = append(devs, t.stack.Lowers[i].Dev)
	}
	return devs
}

// redirects tells whether a renamed merged directory gets a redirect.
func (fs *FS) redirects() bool {
	switch fs.cfg.Redirect {
	case RedirectOn:
		return true
	case "":
		return fs.union.stack.MarksPrefix == layers.PrefixTrusted
	}
	return false
}

// Marks returns "trusted" or "user": the namespace in which this upper keeps its marks; "" without an upper.
func (fs *FS) Marks() string {
	switch {
	case fs.union.writer == nil:
		return ""
	case fs.union.writer.Prefix == layers.PrefixUser:
		return "user"
	}
	return "trusted"
}

// Close releases the layer roots and the lock on work. The mount must be gone or never made.
func (fs *FS) Close() error {
	fs.data.closeAll()
	fs.table.closeAll()
	fs.locks.closeAll()
	var errs []error
	for _, t := range fs.trees {
		if t.writer != nil {
			errs = append(errs, t.writer.ClearVolatile())
			t.writer.Close()
		}
		for _, l := range t.stack.Lowers {
			errs = append(errs, l.Close())
		}
		if t.stack.Upper != nil {
			errs = append(errs, t.stack.Upper.Close())
		}
	}
	fs.trees = nil
	return errors.Join(errs...)
}
