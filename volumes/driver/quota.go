package driver

import (
	"errors"
	"io/fs"
	"math/rand/v2"

	"github.com/unionmount/unionmount/layers/sys"
)

// bounded gives an empty directory a project of its own that may take size bytes.
func bounded(dir string, size int64) error {
	fd, err := sys.Open(dir, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	id, err := freeProject(fd)
	if err == nil {
		err = sys.SetProjectLimit(fd, id, uint64(size))
	}
	if err == nil {
		err = sys.SetProject(fd, id)
	}
	if err == nil {
		return nil
	}
	return fail(ErrUnsupported, "quota size requested but no quota support: %w: put --root on xfs or ext4 mounted with prjquota, "+
		"or use -d btrfs -o size=, or -o type=tmpfs -o device=tmpfs -o o=size=", err)
}

// freeProject draws an id that nothing uses. Another process may draw the same
// before it has a limit: one in two thousand millions.
func freeProject(fd int) (uint32, error) {
	for {
		id := uint32(1 + rand.Int32N(1<<31-2))
		if used, err := sys.ProjectInUse(fd, id); err != nil || !used {
			return id, err
		}
	}
}

// unbounded gives the project's limit back, before the directory goes.
func unbounded(dir string) error {
	fd, err := sys.Open(dir, sys.O_RDONLY|sys.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	id, err := sys.Project(fd)
	if err != nil || id == 0 {
		return nil // copied to where there are none
	}
	return sys.SetProjectLimit(fd, id, 0)
}
