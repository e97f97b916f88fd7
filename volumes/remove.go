package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// RemoveTree removes a tree of our own, also where a directory in it is closed to
// its owner. It refuses one with something mounted in it, which isn't ours.
func RemoveTree(path string) error {
	if err := nothingMounted(path); err != nil {
		return err
	}
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	openErr := filepath.WalkDir(path, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700) // before it is read, and again after that failed
		}
		return nil
	})
	return errors.Join(openErr, os.RemoveAll(path))
}

func nothingMounted(path string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	mounts, err := sys.ParseMounts(f)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for _, m := range mounts {
		if m.Target == real || strings.HasPrefix(m.Target, real+"/") {
			return fmt.Errorf("%w: remove %s: something is mounted at %s: unmount it first", ErrConflict, path, m.Target)
		}
	}
	return nil
}
