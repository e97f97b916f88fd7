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
		if err := w.stageWhiteout(temp); err != nil {
			return err
		}
		swap := func() error { return sys.RenameAt(w.work, temp, dir, name, sys.RENAME_EXCHANGE) }
		if err := w.openedAt(dir, name, swap); err != nil {
			_ = sys.UnlinkAt(w.work, temp)
			return err
		}
	}
	_ = w.destroy(w.work, temp) // invisible already; swept at the next mount else
	return nil
}

// whiteoutOver puts a whiteout device at name, in the place of a file if upper has one.
func (w *Writer) whiteoutOver(dir int, name string, inUpper bool) error {
	if !inUpper {
		if done, err := w.linkWhiteout(dir, name); done || err != nil {
			return err
		}
	}
	temp := w.temp()
	if err := w.stageWhiteout(temp); err != nil {
		return err
	}
	var flags uint
	if !inUpper {
		flags = sys.RENAME_NOREPLACE
	}
	err := sys.RenameAt(w.work, temp, dir, name, flags)
	if err != nil {
		_ = sys.UnlinkAt(w.work, temp)
	}
	return err
}

// linkWhiteout gives the shared whiteout device the name at once, where nothing has it:
// a link appears in one step, too, and a rename from work costs three times as much.
// Not done without an error: stageWhiteout may overcome what is in the way.
func (w *Writer) linkWhiteout(dir int, name string) (done bool, err error) {
	w.whiteMu.Lock()
	shared := w.whiteout
	w.whiteMu.Unlock()
	if shared == "" {
		return false, nil
	}
	if err := w.step("whiteout"); err != nil {
		return false, err
	}
	err = sys.LinkAt(w.work, shared, dir, name)
	if err != sys.EEXIST {
		return err == nil, nil
	}
	return false, err
}

// stageWhiteout gives the shared whiteout device one more name in work. One
// inode serves many whiteouts, as in the kernel (ovl_whiteout).
func (w *Writer) stageWhiteout(temp string) error {
	w.whiteMu.Lock()
	defer w.whiteMu.Unlock()
	if err := w.step("whiteout"); err != nil {
		return err
	}
	if w.whiteout != "" {
		err := sys.LinkAt(w.work, w.whiteout, w.work, temp)
		if err == nil || err != sys.EMLINK && err != sys.ENOENT && err != sys.EPERM {
			return err
		}
		_ = sys.UnlinkAt(w.work, w.whiteout) // as many names as it can have: begin another
		w.whiteout = ""
	}
	name := w.temp()
	if err := sys.MknodAt(w.work, name, layers.WhiteoutMode, layers.WhiteoutDev); err != nil {
		return err
	}
	if err := sys.LinkAt(w.work, name, w.work, temp); err != nil {
		return sys.RenameAt(w.work, name, w.work, temp, 0) // no hard links of devices here
	}
	w.whiteout = name
	return nil
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
