package cow

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/layers/sys"
)

// own takes the flock that says that a directory is a mount's; it ends with the process.
func own(fd int) error {
	err := sys.Flock(fd, true)
	if err == sys.EWOULDBLOK {
		return ErrInUse
	}
	return err
}

// stillThere refuses a directory that was removed between its opening and its lock.
func stillThere(fd int) error {
	st, err := sys.StatFd(fd)
	if err == nil && st.Nlink == 0 {
		err = ErrInUse // whoever removed it had it
	}
	return err
}

// RemoveWork takes back a work directory that was made for a mount that failed,
// unless another mount has begun to use it: remove is called while nobody can.
func RemoveWork(work string, remove func(path string) error) error {
	fd, err := sys.Open(work, sys.O_RDONLY|sys.O_DIRECTORY)
	if errors.Is(err, sys.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open work %s: %w", work, err)
	}
	defer func() { _ = sys.Close(fd) }() // a directory: nothing to lose
	switch err = own(fd); {
	case errors.Is(err, ErrInUse):
		return nil
	case err != nil:
		return fmt.Errorf("lock work %s: %w", work, err)
	}
	return remove(work)
}
