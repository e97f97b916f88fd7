package unionfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/model"
	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

// plainUser is nobody: fusermount3 wants a name for the uid, and every Debian has this one.
const plainUser = 65534

// world says where a suite runs: what is mounted, by whom, and which part of it is compared.
type world struct {
	name string
	connection
	user  bool   // a plain user mounts and acts
	whose owners // whose the layers are in a plain user's world
	way   string // into a volume, "bind" or "fuse", to which the suite is confined; "": it runs in the union
	marks startree.Marks
	file  string // one more in the topmost layer, zeros
	calm  bool   // no whiteouts of nothing, see startree.Options.NoStrays
	place int    // among the worlds
	meta  bool   // changes of attributes copy no data up
}

// worlds are each connection as root, a plain user's mounts, and a volume by both ways. Those that only the long form has
// are the last, so that the others keep their place.
func worlds() []world {
	open := connection{io: unionfs.IOOpen}
	users := startree.UserXattr | startree.OCI
	all := []world{
		{name: "user", connection: open, user: true, whose: his, marks: users},
		{name: "user-some-roots", connection: open, user: true, whose: some, marks: users},
		{name: "user-all-roots", connection: open, user: true, whose: roots, marks: users},
		{name: "volume-fuse", connection: open, way: "fuse", marks: startree.Kernel},
		{name: "volume-bind", connection: connection{io: unionfs.IOCached}, way: "bind", marks: startree.Kernel},
	}
	for _, c := range connections() {
		all = append(all, world{name: c.String(), connection: c, marks: startree.Kernel | users})
	}
	for i := range all {
		all[i].place = i
	}
	return all
}

// layers is the number of this world's layers: of any eight worlds that follow each other, each has another.
func (w world) layers(seed int64) int { return 1 + int((seed%8+int64(w.place))%8) }

// eachWorld runs a test in every world, in several at a time.
func eachWorld(t *testing.T, test func(t *testing.T, w world)) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.need(t)
			if w.user {
				fuseForAll(t)
			}
			test(t, w)
		})
	}
}

// run is a run of the model in this world.
func (w world) run(fresh func() (*model.State, error), seed int64) model.Config {
	cfg := model.Config{Fresh: fresh, Seed: seed, Root: !w.user, ACL: true, Allow: allowed}
	cfg.HeldBack = w.held
	if w.user {
		cfg.Credentials = []*syscall.Credential{{Uid: plainUser, Gid: plainUser}}
		cfg.Refused, cfg.Renumbers = notHis, true
		// A store that was refused stays in a page that somebody has mapped: it can't be taken back there.
		cfg.Allow = func(o op.Op) bool { return allowed(o) && o.Kind != op.MapHold }
	}
	return cfg
}

// state mounts a union of layers made from the seed beside its plain copy. Closing it checks that the layers
// are what they were.
func (w world) state(t *testing.T, layers int, seed int64, tops ...string) func() (*model.State, error) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to mount by mount(2)")
	}
	w.meta = !w.user && w.way == "" && (seed+int64(w.place))%2 == 1
	t.Logf("%d layers, metacopy: %t", layers, w.meta)
	return func() (*model.State, error) {
		dir := t.TempDir()
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			return nil, err
		}
		b := built{world: w, dir: dir}
		if err := b.make(layers, seed, tops); err != nil {
			return nil, err
		}
		return b.mount()
	}
}

// built is a world's directories and daemon.
type built struct {
	world
	dir    string
	lowers []string
	before treehash.Tree
	daemon *daemon
}

func (b *built) at(name string) string { return filepath.Join(b.dir, name) }

func (b *built) make(layers int, seed int64, tops []string) error {
	for _, sub := range []string{"lower", "upper", "work", "mnt"} {
		if err := os.Mkdir(b.at(sub), 0o755); err != nil {
			return err
		}
		if b.user && sub != "lower" {
			if err := os.Chown(b.at(sub), plainUser, plainUser); err != nil {
				return err
			}
		}
	}
	opt := startree.Options{Root: !b.user, ACL: true, Tops: tops, Marks: b.marks, NoStrays: b.calm}
	if b.user {
		opt.User = plainUser
	}
	var err error
	if b.lowers, err = startree.Layers(b.at("lower"), layers, seed, opt); err != nil {
		return err
	}
	if err := b.addFile(); err != nil {
		return err
	}
	if b.user {
		if err := b.chown(tops); err != nil {
			return err
		}
	}
	for _, sub := range []string{"plain", "volume"} {
		if sub == "volume" && b.way == "" {
			continue
		}
		if err := startree.Flatten(b.lowers, b.at(sub)); err != nil {
			return err
		}
	}
	if b.user { // as the upper, whose owner the union's root has
		if err := os.Chown(b.at("plain"), plainUser, plainUser); err != nil {
			return err
		}
	}
	if err := sameRoot(b.lowers[0], b.at("upper")); err != nil {
		return err
	}
	b.before, err = b.hash()
	return err
}

func (b *built) addFile() error {
	if b.file == "" {
		return nil
	}
	path := filepath.Join(b.lowers[0], b.file)
	if err := os.WriteFile(path, make([]byte, 100_000), 0o644); err != nil || !b.user {
		return err
	}
	return os.Chown(path, plainUser, plainUser)
}

// hash says what the lower layers are. A plain user can't read without moving access times.
func (b *built) hash() (treehash.Tree, error) {
	return treehash.Hash(b.at("lower"), treehash.Options{Atime: !b.user, Nlink: true})
}

func (b *built) mount() (*model.State, error) {
	b.daemon = &daemon{
		Config:     b.config(unionfs.Config{Lowers: b.lowers, Upper: b.at("upper"), Work: b.at("work"), UserXattr: b.user, Metacopy: b.meta}),
		Mountpoint: b.at("mnt"), User: b.user,
	}
	s := &model.State{Union: b.at("mnt"), Plain: b.at("plain"), Close: b.close}
	s.Kill, s.Restart = b.daemon.kill, b.daemon.restart
	s.Remount = func() error { return errors.Join(b.stop(), b.start()) }
	if b.way != "" {
		s.Union += "/vol"
		b.daemon.Config.Volumes = []unionfs.Volume{{Source: b.at("volume"), Target: "/vol"}}
	}
	if b.user {
		s.Look = asPlainUser
	}
	return s, b.start()
}

func (b *built) start() error {
	if err := b.daemon.start(); err != nil || b.way != "bind" {
		return err
	}
	return unix.Mount(b.at("volume"), b.at("mnt/vol"), "", unix.MS_BIND, "")
}

func (b *built) stop() error {
	var err error
	if b.way == "bind" {
		err = suite.Unmount(b.at("mnt/vol"))
	}
	return errors.Join(err, b.daemon.stop())
}

// close unmounts, compares the layers with what they were, and removes everything.
func (b *built) close() error {
	err := b.stop()
	after, e := b.hash()
	if e != nil {
		return e
	}
	if diff := treehash.Diff(b.before, after); diff != nil {
		err = errors.Join(err, fmt.Errorf("lower layers changed: %s", strings.Join(diff, "\n")))
	}
	if names, e := os.ReadDir(b.at("upper")); b.way != "" && (e != nil || len(names) > 0) {
		err = errors.Join(err, e, fmt.Errorf("a volume's changes reached the upper: %v", names))
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// sameRoot gives an upper the attributes of the layer below: the union's root has the upper's.
func sameRoot(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	for _, name := range []string{"user.a", "trusted.a", "system.posix_acl_access", "system.posix_acl_default"} {
		buf := make([]byte, 4096)
		if n, err := unix.Getxattr(from, name, buf); err == nil {
			if err := unix.Setxattr(to, name, buf[:n], 0); err != nil {
				return err
			}
		}
	}
	if err := os.Chmod(to, os.FileMode(st.Mode&0o777)); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// allowed leaves out chown(-1, -1): before a file with capabilities is written the
// kernel sends the same two requests as for it, so one of the two must deviate
// (docs/semantics.md). TestChownOfNothing covers it without capabilities.
func allowed(o op.Op) bool {
	chown := o.Kind == op.Chown || o.Kind == op.Fchown || o.Kind == op.Lchown
	return !chown || o.UID >= 0 || o.GID >= 0
}
