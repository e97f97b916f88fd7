package cow

import (
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Unlink takes away a name that is no directory. inUpper: upper has it;
// whiteout: a lower shows it, so a whiteout takes its place in the same step.
func (w *Writer) Unlink(at, name string, inUpper, whiteout bool) error {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	if err := w.step("unlink"); err != nil {
		return err
	}
	switch {
	case !whiteout:
		err = sys.UnlinkAt(d.Fd, name)
	case !w.devices:
		if err = w.aufsWhiteout(d.Fd, name); err == nil && inUpper {
			err = sys.UnlinkAt(d.Fd, name)
		}
	default:
		err = w.whiteoutOver(d.Fd, name, inUpper)
	}
	if err != nil {
		return fmt.Errorf("remove %q: %w", layers.Join(at, name), err)
	}
	return nil
}

// Rmdir takes away a directory that the union shows empty; upper's part may still hold whiteouts.
func (w *Writer) Rmdir(at, name string, inUpper, whiteout bool) error {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	if err := w.rmdir(d.Fd, name, inUpper, whiteout); err != nil {
		return fmt.Errorf("remove directory %q: %w", layers.Join(at, name), err)
	}
	w.Upper.Forget(layers.Join(at, name))
	return nil
}

// RmdirSealed takes away a directory of upper alone that can't be looked into. EACCES: it holds names, or whiteouts.
func (w *Writer) RmdirSealed(at, name string) error {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	if err = w.step("rmdir"); err == nil {
		err = sys.RmdirAt(d.Fd, name)
	}
	if err == sys.ENOTEMPTY {
		err = sys.EACCES
	}
	if err != nil {
		return fmt.Errorf("remove directory %q: %w", layers.Join(at, name), err)
	}
	w.Upper.Forget(layers.Join(at, name))
	return nil
}

func (w *Writer) rmdir(dir int, name string, inUpper, whiteout bool) error {
	if err := w.step("rmdir"); err != nil {
		return err
	}
	if !inUpper {
		if !w.devices {
			return w.aufsWhiteout(dir, name)
		}
		return w.whiteoutOver(dir, name, false)
	}
	if !whiteout {
		if err := sys.RmdirAt(dir, name); err != sys.ENOTEMPTY || w.plain {
			return err
		}
	}
	temp := w.temp()
	switch {
	case !whiteout:
		if err := w.openedAt(dir, name, func() error { return sys.RenameAt(dir, name, w.work, temp, 0) }); err != nil {
			return err
		}
	case !w.devices:
		if err := w.aufsWhiteout(dir, name); err != nil {
			return err
		}
		if err := w.openedAt(dir, name, func() error { return sys.RenameAt(dir, name, w.work, temp, 0) }); err != nil {
			return err
		}
	default:
		if err := w.newWhiteout(w.work, temp); err != nil {
			return err
		}
		swap := func() error { return sys.RenameAt(w.work, temp, dir, name, sys.RENAME_EXCHANGE) }
		if err := w.openedAt(dir, name, swap); err != nil {
			_ = sys.UnlinkAt(w.work, temp)
			return err
		}
	}
	w.destroyLater(temp)
	return nil
}

// whiteoutOver puts a whiteout device at name, in the place of a file if upper has one.
func (w *Writer) whiteoutOver(dir int, name string, inUpper bool) error {
	if !inUpper {
		return w.newWhiteout(dir, name)
	}
	temp := w.temp()
	if err := w.newWhiteout(w.work, temp); err != nil {
		return err
	}
	err := sys.RenameAt(w.work, temp, dir, name, 0)
	if err != nil {
		_ = sys.UnlinkAt(w.work, temp)
	}
	return err
}

// newWhiteout gives the shared whiteout device one more name, in one step, where
// nothing has it (EEXIST). One inode serves many whiteouts, as in the kernel (ovl_whiteout).
func (w *Writer) newWhiteout(dir int, name string) error {
	w.whiteMu.Lock()
	defer w.whiteMu.Unlock()
	if err := w.step("whiteout"); err != nil {
		return err
	}
	if w.whiteout != "" {
		err := sys.LinkAt(w.work, w.whiteout, dir, name)
		if err == nil || err != sys.EMLINK && err != sys.ENOENT && err != sys.EPERM {
			return err
		}
		_ = sys.UnlinkAt(w.work, w.whiteout) // as many names as it can have: begin another
		w.whiteout = ""
	}
	shared := w.temp()
	if err := sys.MknodAt(w.work, shared, layers.WhiteoutMode, layers.WhiteoutDev); err != nil {
		return err
	}
	switch err := sys.LinkAt(w.work, shared, dir, name); err {
	case nil:
		w.whiteout = shared
		return nil
	case sys.EEXIST:
		_ = sys.UnlinkAt(w.work, shared)
		return err
	}
	err := sys.RenameAt(w.work, shared, dir, name, sys.RENAME_NOREPLACE) // no hard links of devices here
	if err != nil {
		_ = sys.UnlinkAt(w.work, shared)
	}
	return err
}

// aufsWhiteout makes the file form. It hides the layers below and not the name
// beside it, so a crash before that name goes leaves the old state.
func (w *Writer) aufsWhiteout(dir int, name string) error {
	if err := w.step("whiteout"); err != nil {
		return err
	}
	fd, err := sys.OpenAt(dir, layers.AufsWhiteout(name), sys.O_WRONLY|sys.O_CREAT, 0o700)
	if err != nil {
		return err
	}
	return sys.Close(fd)
}
