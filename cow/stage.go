package cow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Staged is a finished object in work that nobody sees yet. It is published once or discarded.
type Staged struct {
	w      *Writer
	name   string // in work
	dir    bool
	origin bool // it carries an origin: its parent becomes impure
	index  string
}

// Publish makes the object visible as name in the directory at, which must not
// have the name (EEXIST); a file may take the place of a whiteout device or file if replace is set.
func (s *Staged) Publish(at, name string, replace bool) error {
	d, err := s.w.Upper.Dir(at)
	if err != nil {
		return err
	}
	defer d.Release()
	if s.origin {
		if err := s.w.markImpure(d.Fd); err != nil {
			return err
		}
	}
	if err := s.w.step("publish"); err != nil {
		return err
	}
	move := func() error { return s.w.moveOver(s.name, d.Fd, name, s.dir, replace) }
	if !s.dir {
		return move()
	}
	return s.w.openedAt(s.w.work, s.name, move)
}

// PublishIndex makes the object visible as the copy of every name of a lower hard link.
func (s *Staged) PublishIndex() error {
	if err := s.w.step("publish index"); err != nil {
		return err
	}
	return sys.RenameAt(s.w.work, s.name, s.w.indexDir(s.index), s.index, sys.RENAME_NOREPLACE)
}

// PathFd returns an O_PATH descriptor of the staged object.
func (s *Staged) PathFd() (int, error) { return sys.PathAt(s.w.work, s.name) }

// Discard removes the object; its error matters to nobody but the next sweep.
func (s *Staged) Discard() { _ = s.w.destroy(s.w.work, s.name) }

// moveOver moves temp from work to name in dir. Where replace is set a whiteout
// may be there: a file is renamed over it, a directory changes places with it.
func (w *Writer) moveOver(temp string, dir int, name string, isDir, replace bool) error {
	err := sys.RenameAt(w.work, temp, dir, name, sys.RENAME_NOREPLACE)
	if err == sys.EEXIST && replace {
		if !isDir {
			err = sys.RenameAt(w.work, temp, dir, name, 0)
		} else if err = sys.RenameAt(w.work, temp, dir, name, sys.RENAME_EXCHANGE); err == nil {
			_ = sys.UnlinkAt(w.work, temp) // the whiteout; swept else
		}
	}
	if err == nil && replace {
		err = w.dropAufs(dir, name, isDir)
	}
	return err
}

// dropAufs removes the file form of a whiteout beside a name that exists again.
// It stays beside a directory: there it does no harm and says opaque as well.
func (w *Writer) dropAufs(dir int, name string, isDir bool) error {
	if w.devices || isDir || w.plain {
		return nil
	}
	err := sys.UnlinkAt(dir, layers.AufsWhiteout(name))
	if err == sys.ENAMETOOL {
		return nil
	}
	return ignore(err, sys.ENOENT)
}

// setMark writes one mark.
func (w *Writer) setMark(fd int, suffix string, value []byte) error {
	if err := w.step("mark " + suffix); err != nil {
		return err
	}
	if err := sys.SetXattrFd(fd, w.Prefix+suffix, value, 0); err != nil {
		return fmt.Errorf("set %s%s: %w", w.Prefix, suffix, err)
	}
	return nil
}

// markImpure says that the directory holds objects with an origin, so that listings look for it.
func (w *Writer) markImpure(dir int) error {
	if w.plain {
		return nil
	}
	if _, err := sys.GetXattrAt(dir, ".", w.Prefix+layers.SuffixImpure); err == nil {
		return nil
	}
	return w.setMark(dir, layers.SuffixImpure, []byte("y"))
}

// dropOrigin takes the origin away again, with all that was set after it and may
// lie where there is less room. The object's number then changes at the next mount.
func (w *Writer) dropOrigin(s *Staged, fd int) error {
	names, err := sys.ListXattrFd(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, "security.") && n != capabilities {
			continue // a label is the file system's own
		}
		if err := ignore(sys.RemoveXattrFd(fd, n), sys.ENODATA); err != nil {
			return err
		}
	}
	s.origin = false
	return nil
}

// setOrigin writes where an object comes from. A symbolic link or device can't
// hold user.*, it stays unset: its number then changes at the next mount (docs/semantics.md).
func (w *Writer) setOrigin(fd int, mode uint32, h layers.FileHandle, own string) (set bool, err error) {
	err = w.setMark(fd, layers.SuffixOrigin, h)
	if err == nil && own != "" {
		err = w.setMark(fd, layers.SuffixOwnOrigin, []byte(own))
	}
	t := mode & sys.S_IFMT
	if errors.Is(err, sys.EPERM) && w.Prefix == layers.PrefixUser && t != sys.S_IFREG && t != sys.S_IFDIR {
		return false, nil
	}
	return err == nil, err
}
