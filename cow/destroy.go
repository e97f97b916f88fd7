package cow

import "github.com/unionmount/unionmount/layers/sys"

// destroy removes name in dir and all below it, also what is closed to its owner, whom modes bind if he isn't root.
// Somebody may have a removed directory open: it keeps its mode and times.
func (w *Writer) destroy(dir int, name string) error {
	err := sys.UnlinkAt(dir, name)
	if err != sys.EISDIR && err != sys.EPERM {
		return ignore(err, sys.ENOENT)
	}
	err = w.empty(dir, name)
	if err == sys.EACCES {
		err = w.emptyClosed(dir, name)
	}
	if err != nil {
		return err
	}
	return sys.RmdirAt(dir, name)
}

// empty destroys all that is in a directory.
func (w *Writer) empty(dir int, name string) error {
	fd, err := sys.OpenAt(dir, name, sys.O_RDONLY|sys.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	var names []string
	if err := sys.ReadDir(fd, func(e sys.Dirent) error { names = append(names, e.Name); return nil }); err != nil || len(names) == 0 {
		return err
	}
	st, err := sys.StatFd(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.destroy(fd, n); err != nil {
			return err
		}
	}
	_ = sys.UtimesFd(fd, st.Atim, st.Mtim) // nothing to lose
	return nil
}

// emptyClosed is empty for a directory that its mode closes to its owner.
func (w *Writer) emptyClosed(dir int, name string) error {
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return err
	}
	if err := sys.ChmodAt(dir, name, 0o700); err != nil {
		return err
	}
	err = w.empty(dir, name)
	_ = sys.ChmodAt(dir, name, st.Mode&0o7777) // nothing to lose
	return err
}
