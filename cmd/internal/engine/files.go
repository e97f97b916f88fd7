package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// removeAll removes a tree of our own, also where a directory in it is closed to its owner.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(walkErr, os.RemoveAll(path))
}

// dress gives dir the mode and, where we may, the owner of another directory.
func dress(dir string, like os.FileInfo) error {
	st := like.Sys().(*syscall.Stat_t)
	err := os.Chown(dir, int(st.Uid), int(st.Gid))
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) { // EINVAL: not in our user namespace
		return err
	}
	return os.Chmod(dir, like.Mode())
}

// sortByDepth puts a volume before those that lie below its target.
func sortByDepth(vs []VolumeRef) {
	sort.SliceStable(vs, func(i, j int) bool { return strings.Count(vs[i].Target, "/") < strings.Count(vs[j].Target, "/") })
}
