package cow

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Link gives the object behind fd the name in the directory at; hides: a
// whiteout may be there and is replaced. EEXIST: upper has the name.
func (w *Writer) Link(fd int, at, name string, hides, hasOrigin bool) error {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	if hasOrigin {
		if err := w.markImpure(d.Fd); err != nil {
			return err
		}
	}
	if err := w.link(fd, d.Fd, name, hides); err != nil {
		return fmt.Errorf("link %q: %w", layers.Join(at, name), err)
	}
	return nil
}

func (w *Writer) link(fd, dir int, name string, hides bool) error {
	if err := w.step("link"); err != nil {
		return err
	}
	if !hides || w.plain {
		return sys.LinkFd(fd, dir, name)
	}
	temp := w.temp()
	if err := sys.LinkFd(fd, w.work, temp); err != nil {
		return err
	}
	if err := w.step("publish"); err != nil {
		_ = sys.UnlinkAt(w.work, temp)
		return err
	}
	err := w.moveOver(temp, dir, name, false, true)
	if err != nil {
		_ = sys.UnlinkAt(w.work, temp)
	}
	return err
}

// LinkUp gives the indexed object its own name in upper where only a lower
// shows it (ovl_link_up). names is the union's count, lowerNlink the lower's: the
// count is written relative to the lower while upper's changes, so that a crash
// in between leaves it right, and once as it is, for who doesn't know the lower.
// The caller keeps others from counting meanwhile.
func (w *Writer) LinkUp(index, at, name string, names, lowerNlink uint64) error {
	fd, err := sys.PathAt(w.indexDir(index), index)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return w.opened(fd, func() error { return w.linkUp(fd, at, name, names, lowerNlink) })
}

func (w *Writer) linkUp(fd int, at, name string, names, lowerNlink uint64) error {
	if err := w.setMark(fd, layers.SuffixNames, strconv.AppendUint(nil, names, 10)); err != nil {
		return err
	}
	if err := w.setMark(fd, layers.SuffixNlink, fmt.Appendf(nil, "L%+d", int64(names)-int64(lowerNlink))); err != nil {
		return err
	}
	linked := w.Link(fd, at, name, false, true)
	// Also if it was refused: what is relative to the lower's count doesn't follow upper's names.
	if err := w.setCount(fd, names); err != nil {
		return errors.Join(linked, err)
	}
	return linked
}

// SetCount says that the union has so many names of an indexed object, from now on relative to those in upper.
func (w *Writer) SetCount(index string, names uint64) error {
	fd, err := sys.PathAt(w.indexDir(index), index)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return w.opened(fd, func() error { return w.setCount(fd, names) })
}

func (w *Writer) setCount(fd int, names uint64) error {
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	if err := w.setMark(fd, layers.SuffixNlink, layers.NlinkMark(names, uint64(st.Nlink))); err != nil {
		return err
	}
	return ignore(sys.RemoveXattrFd(fd, w.Prefix+layers.SuffixNames), sys.ENODATA)
}

// sweepIndex ends what a crash cut short: counts that are relative to the lower's, and objects of which the union
// has no name any more (ovl_indexdir_cleanup). Only one that upper has no name of can be such.
func (w *Writer) sweepIndex() error {
	x := w.Index()
	for _, dir := range [...]int{w.index, w.links} {
		var orphans []string
		err := sys.ReadDir(dir, func(e sys.Dirent) error {
			if names, ok := x.Names(e.Name); ok {
				if err := w.SetCount(e.Name, names); err != nil {
					return fmt.Errorf("settle the count of %q: %w", e.Name, err)
				}
			}
			st, err := sys.StatAt(dir, e.Name)
			if err != nil || st.Nlink > 1 || st.Mode&sys.S_IFMT == sys.S_IFDIR {
				return err
			}
			// A count relative to the lower's is being changed: not nothing, in any case.
			names, err := x.Nlink(e.Name, &st, func() (uint64, error) { return 1 << 32, nil })
			if err == nil && names == 0 {
				orphans = append(orphans, e.Name)
			}
			return nil // what can't be read is somebody else's
		})
		for _, name := range orphans {
			if err == nil {
				err = ignore(sys.UnlinkAt(dir, name), sys.ENOENT)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// DropIndex removes the indexed object once the union has no name of it.
func (w *Writer) DropIndex(index string) error {
	if err := w.step("drop index"); err != nil {
		return err
	}
	return ignore(sys.UnlinkAt(w.indexDir(index), index), sys.ENOENT)
}
