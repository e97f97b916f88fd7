package volumes

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Size counts the bytes of the files in the data of a volume: what removing it gives
// back. A file with several names counts once, a hole and what is mounted below not at all.
func (s *Store) Size(name string) (int64, error) { return treeSize(s.Mountpoint(name)) }

// inline is how small a file is that may take no block of its own.
const inline = 4096

func treeSize(root string) (size int64, err error) {
	type inode struct{ dev, ino uint64 }
	seen := make(map[inode]bool)
	var dev uint64
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile, or never made
			}
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if p == root {
			dev = st.Dev
		}
		switch {
		case d.IsDir() && st.Dev != dev:
			return fs.SkipDir
		case d.IsDir():
			return nil // as Docker counts
		case st.Nlink > 1:
			if seen[inode{st.Dev, st.Ino}] {
				return nil
			}
			seen[inode{st.Dev, st.Ino}] = true
		}
		if onDisk := st.Blocks * 512; onDisk < st.Size && st.Size > inline {
			size += onDisk
		} else {
			size += st.Size
		}
		return nil
	})
	return size, err
}
