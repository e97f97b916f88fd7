package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
	"github.com/unionmount/unionmount/volumes/tree"
)

// How tells how a volume is copied.
type How struct {
	Live bool              // also while it is in use: the copy is no point in time then
	Tell func(tree.Result) // called now and then with what was done; may be nil
}

// Copied is what a copy cost.
type Copied struct {
	tree.Result
	Method      string // a driver's, or reflink, copy
	Cost        string // a driver's words; "": Result tells
	PointInTime bool
	Took        time.Duration
}

// method names what copying a tree came to.
func method(r tree.Result) string {
	switch {
	case r.Shared > 0 && r.Copied > 0:
		return "reflink and copy"
	case r.Shared > 0:
		return "reflink"
	}
	return "copy"
}

// attach makes the data appear for a copy. UsedBy shows its lease, rm and restore respect it.
func (l *Locked) attach(ctx context.Context, others int) (*attachment, error) {
	d, err := l.Driver()
	if err != nil {
		return nil, err
	}
	use := Use{Mount: fmt.Sprintf("copy.%d", os.Getpid()), Pid: os.Getpid(), Since: time.Now(), ReadOnly: true}
	path := filepath.Join(l.Dir(), leasesDir, use.Mount)
	return l.lease(ctx, d, path, []Use{use}, others)
}

// holders names who has the volume, by a lease or without. Only if nobody has, the
// leases of the dead are ended: the driver unmounts then.
func (l *Locked) holders(ctx context.Context) ([]string, error) {
	uses, err := l.store.Uses(l.Name)
	if err != nil {
		return nil, err
	}
	names := mountsOf(uses)
	if l.store.Leaseless != nil {
		more, err := l.store.Leaseless(l.Name)
		if err != nil {
			return nil, err
		}
		for _, h := range more {
			if !slices.Contains(names, h.Mount) {
				names = append(names, h.Mount+" ("+h.Why+")")
			}
		}
	}
	if len(names) > 0 {
		return names, nil
	}
	uses, err = l.Uses(ctx)
	return mountsOf(uses), err
}

// unused is ErrConflict if somebody has the volume.
func (l *Locked) unused(ctx context.Context, doing, remedy string) error {
	has, err := l.holders(ctx)
	if err == nil && len(has) > 0 {
		err = fail(ErrConflict, "%s %s: volume is in use - [%s]: %s", doing, l.Name, strings.Join(has, ", "), remedy)
	}
	return err
}

// reading calls read with the volume's data. Unless live, nobody may have it attached
// meanwhile. If live the name is not locked meanwhile: who attaches the volume needn't
// wait for the copy. still tells whether nobody else had it.
func (l *Locked) reading(ctx context.Context, live bool, doing string, read func(data int) error) (still bool, err error) {
	if !live {
		if err := l.unused(ctx, doing, "unmount them first, or --live makes a copy that is no point in time"); err != nil {
			return false, err
		}
	}
	before, err := l.holders(ctx)
	if err != nil {
		return false, err
	}
	a, err := l.attach(ctx, len(before))
	if err != nil {
		return false, err
	}
	last := l.lastAttached()
	do := func() error { return withDir(a.data, read) }
	if live {
		err = l.unlocked(ctx, a, do)
	} else {
		err = errors.Join(do(), l.detach(ctx, a))
	}
	return len(before) == 0 && l.lastAttached() == last, err
}

// unlocked gives the name free while do runs, and detaches what was attached for it.
func (l *Locked) unlocked(ctx context.Context, a *attachment, do func() error) error {
	if err := l.Unlock(); err != nil {
		return errors.Join(err, a.file.Close()) // whoever has the lock next clears up
	}
	err := do()
	again, lockErr := l.store.Lock(context.WithoutCancel(ctx), l.Name)
	if lockErr != nil {
		return errors.Join(err, lockErr, a.file.Close())
	}
	*l = *again
	return errors.Join(err, l.detach(ctx, a))
}

// lastAttached tells one attachment of a mount from another.
func (l *Locked) lastAttached() string {
	uses, err := l.store.LastUsed(l.Name)
	if err != nil || len(uses) == 0 {
		return ""
	}
	return fmt.Sprint(uses[0].Mount, uses[0].Since.UnixNano())
}

// withDir calls do with a descriptor of the directory at path.
func withDir(path string, do func(dir int) error) error {
	fd, err := sys.Open(path, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return errors.Join(do(fd), sys.Close(fd))
}

// copyTree copies one directory to another.
func copyTree(ctx context.Context, from int, to string, live bool, tell func(tree.Result)) (r tree.Result, err error) {
	err = withDir(to, func(to int) (err error) {
		r, err = tree.Copy(ctx, from, to, tree.Options{Live: live, Tell: tell})
		return err
	})
	return r, err
}

// read calls read with a snapshot's data, which nobody removes meanwhile.
func (s *Snapshot) read(ctx context.Context, read func(data int) error) error {
	held, err := s.hold(false)
	if err != nil {
		return err
	}
	alone := func() bool { return sys.Flock(int(held.Fd()), true) == nil } // else another copy is being made of it
	return errors.Join(s.reading(ctx, alone, read), held.Close())
}

// reading calls read with the data of a snapshot that is held; alone tells in the end whether by nobody else.
func (s *Snapshot) reading(ctx context.Context, alone func() bool, read func(data int) error) error {
	d, err := driver.Open(s.volume())
	if err != nil {
		return Judge(err)
	}
	path, err := d.Mount(ctx, holder(s.dir))
	if err != nil {
		return Judge(fmt.Errorf("mount snapshot %s: %w", s.id(), err))
	}
	err = withDir(path, read)
	return errors.Join(err, d.Unmount(context.WithoutCancel(ctx), holder(s.dir), alone()))
}

// shares tells whether the driver of one volume can make the other by sharing its data.
func shares(from, to driver.Volume) (driver.Snapshotter, bool) {
	if from.Driver != to.Driver || !maps.Equal(from.Options, to.Options) {
		return nil, false
	}
	d, err := driver.Open(from)
	if err != nil {
		return nil, false // it shows when the driver is used
	}
	at, ok := d.(driver.Snapshotter)
	return at, ok
}

// share has the driver of one volume make the other, whose options record is told before.
func share(ctx context.Context, at driver.Snapshotter, to driver.Volume, record func(map[string]string) error) (err error) {
	if to.Options, err = at.Plan(ctx, to, false); err == nil {
		err = record(to.Options)
	}
	if err == nil {
		err = at.Snapshot(ctx, to, false)
	}
	return err
}

// fillNew makes a volume's data in its driver's place and has fill write it. What it
// made is gone if that fails. ErrConflict if there is something in that place already.
func fillNew(ctx context.Context, to driver.Volume, fill func(path string) error) error {
	d, err := driver.Open(to)
	if err != nil {
		return err
	}
	if err := d.Create(ctx); errors.Is(err, driver.ErrExists) {
		return fail(ErrConflict, "%w: create it without what it shall hold, then import that", err)
	} else if err != nil {
		return err
	}
	path, err := d.Mount(ctx, holder(to.Dir))
	if err == nil {
		empty, emptyErr := isEmpty(path)
		switch {
		case emptyErr != nil:
			err = emptyErr
		case !empty: // of a device or a server: it was there before
			err = fail(ErrConflict, "there is something in it already: take another device, or create it as it is")
		default:
			if err = fill(path); err != nil { // a device or server would keep the half of it
				err = errors.Join(err, clearDir(path, lostFound))
			}
		}
		err = errors.Join(err, d.Unmount(context.WithoutCancel(ctx), holder(to.Dir), true))
	}
	if err != nil {
		err = errors.Join(err, d.Remove(context.WithoutCancel(ctx)))
	}
	return err
}
