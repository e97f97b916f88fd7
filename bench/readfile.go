package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// readFile reads a file of n bytes whole; an operation is 4 KiB.
func readFile(n int64) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		done, err := c.readWhole(min(n, 1<<20))
		if err == nil && done != n {
			err = fmt.Errorf("read %d bytes of %d", done, n)
		}
		return max(1, n>>12), err
	}
}

// readOnce fills the cache of the peer.
func readOnce(c *client) (int64, error) {
	_, err := c.readWhole(1 << 20)
	return 1, err
}

// readWhole reads the large file by pieces of a size.
func (c *client) readWhole(piece int64) (done int64, err error) {
	f, err := os.Open(filepath.Join(c.Dir, dataFile))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, piece)
	for {
		got, err := f.Read(buf)
		done += int64(got)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}
