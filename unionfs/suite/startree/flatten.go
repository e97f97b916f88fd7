package startree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Flatten writes to dst, which must not exist, the plain copy of the union of layers, topmost first: owners, modes,
// times, extended attributes, holes and the hard links inside of a layer included. The layers keep their access times.
func Flatten(layers []string, dst string) error {
	f := flattener{links: map[[2]uint64]string{}}
	if err := f.directory(layers, dst); err != nil {
		return fmt.Errorf("flatten: %w", err)
	}
	return nil
}

type flattener struct {
	links map[[2]uint64]string // where an object with several names was copied to
}

// directory copies the merger of dirs, topmost first. Its own attributes are those of the topmost, and come last.
func (f *flattener) directory(dirs []string, dst string) error {
	before := make([]unix.Stat_t, len(dirs))
	for i, d := range dirs {
		if err := unix.Lstat(d, &before[i]); err != nil {
			return &os.PathError{Op: "lstat", Path: d, Err: err}
		}
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	if err := f.names(dirs, dst); err != nil {
		return err
	}
	for i, d := range dirs {
		if err := setTimes(d, &before[i]); err != nil {
			return err
		}
	}
	return copyAttributes(dirs[0], dst, &before[0])
}

// names copies what the merger of dirs holds.
func (f *flattener) names(dirs []string, dst string) error {
	names, err := visible(dirs)
	if err != nil {
		return err
	}
	for _, name := range names {
		found, err := find(dirs, name)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		if err := f.copy(found, filepath.Join(dst, name)); err != nil {
			return err
		}
	}
	return nil
}

// copy copies what was found at one name.
func (f *flattener) copy(found []string, dst string) error {
	var st unix.Stat_t
	if err := unix.Lstat(found[0], &st); err != nil {
		return &os.PathError{Op: "lstat", Path: found[0], Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return f.directory(found, dst)
	}
	key := [2]uint64{uint64(st.Dev), st.Ino}
	if first, ok := f.links[key]; ok {
		return os.Link(first, dst)
	}
	if st.Nlink > 1 {
		f.links[key] = dst
	}
	if err := copyObject(found[0], dst, &st); err != nil {
		return err
	}
	if err := setTimes(found[0], &st); err != nil {
		return err
	}
	return copyAttributes(found[0], dst, &st)
}

// visible lists the names of all dirs, without the marks that are names.
func visible(dirs []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !seen[e.Name()] && !strings.HasPrefix(e.Name(), ociPrefix) {
				seen[e.Name()] = true
				out = append(out, e.Name())
			}
		}
	}
	return out, nil
}

// find returns what makes up the object at name: one non-directory, or the directories that are merged.
func find(dirs []string, name string) ([]string, error) {
	var out []string
	for _, d := range dirs {
		path := filepath.Join(d, name)
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		switch {
		case err == unix.ENOENT:
			if exists(filepath.Join(d, ociPrefix+name)) {
				return out, nil
			}
			continue
		case err != nil:
			return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
		case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
			return out, nil
		case !isDir && len(out) > 0:
			return out, nil
		case !isDir:
			return []string{path}, nil
		}
		out = append(out, path)
		if isOpaque(path) {
			return out, nil
		}
	}
	return out, nil
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

func isOpaque(dir string) bool {
	buf := make([]byte, 8)
	for _, name := range []string{kernelOpaque, userOpaque} {
		if n, err := unix.Lgetxattr(dir, name, buf); err == nil && string(buf[:n]) == "y" {
			return true
		}
	}
	return exists(filepath.Join(dir, ociOpaque))
}
