package cow

import (
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Move describes a rename inside upper, of an object that upper has.
type Move struct {
	OldDir, OldName string
	NewDir, NewName string
	Dir             bool   // the object is a directory
	Redirect        string // where its lower part lies: marked before it moves; "" none
	Opaque          bool   // it has no lower part and may come to lie over one: marked before it moves
	WhiteoutOld     bool   // a lower shows the old name
	ReplacesDir     bool   // the new name is a directory that the union shows empty
	Hides           bool   // the new name is or may be a whiteout
	HasOrigin       bool   // the object carries an origin
	NoReplace       bool   // in a volume: the kernel refuses if the name has come up meanwhile
}

// Rename makes the move in one visible step. cleared tells, also with an error,
// that the directory at the new name has been replaced by an opaque empty one.
func (w *Writer) Rename(m Move) (cleared bool, err error) {
	from, err := w.Upper.Dir(m.OldDir)
	if err != nil {
		return false, err
	}
	defer from.Release()
	to, err := w.Upper.Dir(m.NewDir)
	if err != nil {
		return false, err
	}
	defer to.Release()
	if err = w.markMoved(from.Fd, m.OldName, m.Redirect, m.Opaque); err == nil && m.HasOrigin {
		err = w.markImpure(to.Fd)
	}
	if err == nil && m.ReplacesDir && !w.plain {
		cleared, err = w.clearTarget(to.Fd, m.NewName)
	}
	if err == nil {
		err = w.rename(from.Fd, to.Fd, m)
	}
	if m.Dir {
		w.Upper.Forget(layers.Join(m.OldDir, m.OldName))
	}
	if m.Dir || m.ReplacesDir {
		w.Upper.Forget(layers.Join(m.NewDir, m.NewName))
	}
	if err != nil {
		return cleared, fmt.Errorf("rename %q to %q: %w", layers.Join(m.OldDir, m.OldName), layers.Join(m.NewDir, m.NewName), err)
	}
	return cleared, nil
}

func (w *Writer) rename(from, to int, m Move) error {
	if err := w.step("rename"); err != nil {
		return err
	}
	var flags uint
	if m.NoReplace && w.plain {
		flags = sys.RENAME_NOREPLACE
	}
	if m.WhiteoutOld {
		if w.devices {
			flags = sys.RENAME_WHITEOUT
		} else if err := w.aufsWhiteout(from, m.OldName); err != nil {
			return err
		}
	}
	if m.Dir && m.Hides {
		st, err := sys.StatAt(to, m.NewName)
		if err == nil && layers.IsWhiteout(&st) {
			return w.swapWhiteout(from, to, m)
		}
	}
	if err := sys.RenameAt(from, m.OldName, to, m.NewName, flags); err != nil {
		return err
	}
	if m.Hides {
		return w.dropAufs(to, m.NewName, m.Dir)
	}
	return nil
}

// swapWhiteout moves a directory onto a whiteout: they change places, and the
// whiteout hides the old name, or goes if there is nothing to hide.
func (w *Writer) swapWhiteout(from, to int, m Move) error {
	if err := sys.RenameAt(from, m.OldName, to, m.NewName, sys.RENAME_EXCHANGE); err != nil {
		return err
	}
	if m.WhiteoutOld && w.devices {
		return nil
	}
	// A whiteout over nothing hides nothing: the rename is done, whatever this says.
	_ = sys.UnlinkAt(from, m.OldName)
	return nil
}

// clearTarget replaces an empty-looking directory by one that is empty: whiteouts in it can't be renamed over.
func (w *Writer) clearTarget(dir int, name string) (bool, error) {
	old, err := sys.PathAt(dir, name)
	if err != nil {
		return false, err
	}
	defer sys.Close(old)
	empty, err := isEmpty(old)
	if err != nil || empty {
		return false, err
	}
	st, err := sys.StatAt(old, "")
	if err != nil {
		return false, err
	}
	temp := w.temp()
	if err := w.step("clear"); err != nil {
		return false, err
	}
	fd, err := makeDir(w.work, temp)
	if err != nil {
		return false, w.unmade(temp, err)
	}
	defer sys.Close(fd)
	err = w.dressCleared(fd, old, &st, func() error {
		if err := w.step("swap cleared"); err != nil {
			return err
		}
		return w.opened(old, func() error { return sys.RenameAt(w.work, temp, dir, name, sys.RENAME_EXCHANGE) })
	})
	_ = w.destroy(w.work, temp) // the old one, or the one that was not needed
	return err == nil, err
}

// dressCleared makes the new directory look like the old one and swaps them.
func (w *Writer) dressCleared(fd, old int, st *sys.Stat, swap func() error) error {
	if err := w.setMark(fd, layers.SuffixOpaque, layers.Opaque()); err != nil {
		return err
	}
	if err := w.copyMeta(fd, source{dir: old}, st); err != nil {
		return err
	}
	return w.opened(fd, swap)
}

func isEmpty(pathFd int) (bool, error) {
	fd, err := sys.OpenAt(pathFd, ".", sys.O_RDONLY|sys.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	defer sys.Close(fd)
	empty := true
	err = sys.ReadDir(fd, func(sys.Dirent) error { empty = false; return sys.ENOTEMPTY })
	if err == sys.ENOTEMPTY {
		err = nil
	}
	return empty, err
}

// Side is one of the two objects of an exchange.
type Side struct {
	Dir, Name string
	IsDir     bool
	Redirect  string
	Opaque    bool
	HasOrigin bool
}

// Exchange lets two objects of upper change places.
func (w *Writer) Exchange(a, b Side) error {
	da, err := w.Upper.Dir(a.Dir)
	if err != nil {
		return err
	}
	defer da.Release()
	db, err := w.Upper.Dir(b.Dir)
	if err != nil {
		return err
	}
	defer db.Release()
	if err = w.markMoved(da.Fd, a.Name, a.Redirect, a.Opaque); err == nil {
		err = w.markMoved(db.Fd, b.Name, b.Redirect, b.Opaque)
	}
	if err == nil && a.HasOrigin {
		err = w.markImpure(db.Fd)
	}
	if err == nil && b.HasOrigin {
		err = w.markImpure(da.Fd)
	}
	if err == nil {
		if err = w.step("exchange"); err == nil {
			err = sys.RenameAt(da.Fd, a.Name, db.Fd, b.Name, sys.RENAME_EXCHANGE)
		}
	}
	if a.IsDir || b.IsDir {
		w.Upper.Forget(layers.Join(a.Dir, a.Name))
		w.Upper.Forget(layers.Join(b.Dir, b.Name))
	}
	if err != nil {
		return fmt.Errorf("exchange %q and %q: %w", layers.Join(a.Dir, a.Name), layers.Join(b.Dir, b.Name), err)
	}
	return nil
}

// markMoved writes, where the directory still is, what it must say at its new
// place. Both marks are true of the old place too.
func (w *Writer) markMoved(dir int, name, redirect string, opaque bool) error {
	if redirect == "" && !opaque {
		return nil
	}
	fd, err := sys.PathAt(dir, name)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return w.opened(fd, func() error {
		if redirect != "" {
			return w.setMark(fd, layers.SuffixRedirect, []byte(redirect))
		}
		return w.setMark(fd, layers.SuffixOpaque, layers.Opaque())
	})
}

// MarkOpaque makes the upper directory at hide everything below it.
func (w *Writer) MarkOpaque(at string) error {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	return w.setMark(d.Fd, layers.SuffixOpaque, layers.Opaque())
}
