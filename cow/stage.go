package cow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Staged is a finished object that nobody sees yet. It is published once and closed in any case.
type Staged struct {
	w        *Writer
	fd       int    // read-write of a regular file, of a directory for reading, O_PATH else; -1: taken
	name     string // in work; "": the file has none yet (O_TMPFILE), or what it was published under
	dir      bool
	origin   bool // it carries an origin: its parent becomes impure
	metacopy bool // its data stays below
	index    string
}

// Publish makes the object visible as name in the directory at, which must not
// have the name (EEXIST).
func (s *Staged) Publish(at, name string) error {
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
	if !s.dir {
		return s.move(d.Fd, name)
	}
	return s.w.opened(s.fd, func() error { return s.move(d.Fd, name) })
}

// PublishIndex makes the object visible as the copy of every name of a lower hard link.
func (s *Staged) PublishIndex() error {
	if err := s.w.step("publish index"); err != nil {
		return err
	}
	return s.move(s.w.indexDir(s.index), s.index)
}

func (s *Staged) move(dir int, name string) error {
	if s.name == "" {
		return sys.LinkFd(s.fd, dir, name)
	}
	err := s.w.moveOver(s.name, dir, name, s.dir, false)
	if err == nil {
		s.name = ""
	}
	return err
}

// PathFd returns an O_PATH descriptor of the object.
func (s *Staged) PathFd() (int, error) { return sys.Reopen(s.fd, sys.O_PATH) }

// Take hands the object's descriptor over, which for a regular file reads and writes.
func (s *Staged) Take() int {
	fd := s.fd
	s.fd = -1
	return fd
}

// Close lets go of the object, and removes what has not been published: that matters to nobody but the next sweep.
func (s *Staged) Close() {
	if s.fd >= 0 {
		_ = sys.Close(s.fd) // its data were synced, or needn't be
	}
	if s.name != "" {
		_ = s.w.destroy(s.w.work, s.name)
	}
}

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
