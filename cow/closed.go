package cow

import "github.com/unionmount/unionmount/layers/sys"

// ownerWrites is the bit that the daemon of a plain user, who has no capability, needs on what he owns: to write user.*
// marks on it (xattr_permission), and to move a directory to another parent (may_rename).
const ownerWrites = 0o200

// opened gives the object behind fd, if it lacks it, the bit for the time of do. The caller keeps others from looking at
// the mode and from changing it meanwhile. A crash may leave the bit there (docs/semantics.md).
func (w *Writer) opened(fd int, do func() error) error {
	if w.euid == 0 {
		return do()
	}
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	kind := st.Mode & sys.S_IFMT
	if int(st.Uid) != w.euid || st.Mode&ownerWrites != 0 || kind != sys.S_IFREG && kind != sys.S_IFDIR {
		return do()
	}
	if err := sys.ChmodFd(fd, st.Mode&0o7777|ownerWrites); err != nil {
		return err
	}
	err = do()
	if e := sys.ChmodFd(fd, st.Mode&0o7777); err == nil {
		err = e
	}
	return err
}

// openedAt is opened for what has a name.
func (w *Writer) openedAt(dir int, name string, do func() error) error {
	if w.euid == 0 {
		return do()
	}
	fd, err := sys.PathAt(dir, name)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return w.opened(fd, do)
}
