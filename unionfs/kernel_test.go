package unionfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/model"
	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

// TestKernelReadsWhatWeWrite takes turns on one upper: the model changes it through us, then through kernel overlayfs,
// and so on. Each turn begins with the comparison of the whole tree as the other left it, links included.
func TestKernelReadsWhatWeWrite(t *testing.T) {
	for i, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			seed := seed(t)
			w := world{name: c.String(), connection: c, marks: startree.Kernel, calm: true, place: i}
			b, ours, err := w.build(t, w.layers(seed), seed)
			if err != nil {
				t.Fatal(err)
			}
			turns, err := 2*times("TURNS", 2, 100), b.stop()
			for turn := 0; turn < turns && err == nil; turn++ {
				cfg := w.run(nil, seed+int64(turn))
				cfg.Ops, cfg.ShrinkFor, cfg.RemountEvery = 1500, -1, 500
				cfg.Allow = bothAllow
				if turn%2 == 0 {
					err = b.turn(cfg, ours, b.start, b.stop)
				} else {
					cfg.Allow, cfg.HeldBack, cfg.Refused, cfg.Accept = kernelAllows, false, kernelRefuses, kernelDeviates
					cfg.Besides = func(o op.Op, union op.Result) error { return kernelTouches(ours, o, union) }
					err = b.turn(cfg, ours, b.kernelStart, b.kernelStop)
				}
				if err != nil {
					err = fmt.Errorf("turn %d, of %s: %w", turn, []string{"ours", "the kernel's"}[turn%2], err)
				}
			}
			if err := errors.Join(err, b.start(), b.close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// turn runs the model on one of the two unions.
func (b *built) turn(cfg model.Config, at *model.State, start, stop func() error) error {
	cfg.Fresh = func() (*model.State, error) {
		remount := func() error { return errors.Join(stop(), start()) }
		return &model.State{Union: at.Union, Plain: at.Plain, Remount: remount, Close: stop}, start()
	}
	return model.Run(cfg)
}

func (b *built) kernelStart() error {
	opts := fmt.Sprintf("index=on,redirect_dir=on,metacopy=off,lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(b.lowers, ":"), b.at("upper"), b.at("work"))
	if err := unix.Mount("overlay", b.at("mnt"), "overlay", unix.MS_NOATIME, opts); err != nil {
		return fmt.Errorf("kernel overlayfs: %w", err)
	}
	return nil
}

func (b *built) kernelStop() error { return suite.Unmount(b.at("mnt")) }

// kernelAllows leaves out what kernel overlayfs is known to do unlike a plain file system: a file opened for reading
// does not see what is written after its copy-up.
func kernelAllows(o op.Op) bool {
	return bothAllow(o) && (o.Kind != op.Open || o.Flags&unix.O_ACCMODE != unix.O_RDONLY)
}

// kernelRefuses: a redirect takes 256 bytes in the kernel (ovl_redirect_max); a directory whose path is longer doesn't move.
func kernelRefuses(_ string, o op.Op, union op.Result) bool {
	return o.Kind == op.Rename && union.Errno == unix.EXDEV
}

// kernelTouches: a directory that would leave a whiteout is not moved onto one that isn't empty, but ext4 gives the
// directory it is in a new mtime (ext4_resetent after a refused RENAME_WHITEOUT).
func kernelTouches(s *model.State, o op.Op, union op.Result) error {
	if o.Kind != op.Rename || union.Errno != unix.ENOTEMPTY {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Dir(s.Union+"/"+o.Path), &st); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Dir(s.Plain+"/"+o.Path), times, unix.AT_SYMLINK_NOFOLLOW)
}

// kernelDeviates: a link made in an impure directory that lies in upper alone stays out of what the kernel has cached of
// it, and is listed by its real number (ovl_create_upper calls the directory not impure in ovl_dir_modified).
func kernelDeviates(_ op.Op, union, plain op.Result) bool {
	return union.Errno == plain.Errno && union.Out != plain.Out && otherNumber.ReplaceAllString(union.Out, "") == plain.Out
}

var otherNumber = regexp.MustCompile(` \(d_ino \d+, st_ino \d+\)`)

// bothAllow leaves out names that look like the marks of a rootless upper: we escape them, the kernel of a trusted one
// doesn't (docs/format.md).
func bothAllow(o op.Op) bool {
	return allowed(o) && !strings.HasPrefix(o.Name, "user.overlay.") && !strings.HasPrefix(o.Name, "user.fuseoverlayfs.")
}

// build makes a world and mounts it.
func (w world) build(t *testing.T, layers int, seed int64) (*built, *model.State, error) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to mount")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		return nil, nil, err
	}
	b := &built{world: w, dir: dir}
	if err := b.make(layers, seed, nil); err != nil {
		return nil, nil, err
	}
	s, err := b.mount()
	return b, s, err
}
