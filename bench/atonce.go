package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// clients prepares a line of n clients: each has a thread that may run whenever a processor is free.
func clients(n int, before func(*client) error) func(*client) error {
	return func(c *client) error {
		runtime.GOMAXPROCS(max(n, runtime.GOMAXPROCS(0)))
		return before(c)
	}
}

// atOnce shares a piece of work among n threads, which begin together. It is the same work for each n.
func atOnce(n int, work func(c *client, i, n int) (int64, error)) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		var all sync.WaitGroup
		ops, errs := make([]int64, n), make([]error, n)
		begin := make(chan struct{})
		for i := range n {
			all.Go(func() {
				runtime.LockOSThread()
				<-begin
				ops[i], errs[i] = work(c, i, n)
			})
		}
		close(begin)
		all.Wait()
		sum := int64(0)
		for _, o := range ops {
			sum += o
		}
		return sum, errors.Join(errs...)
	}
}

func nothingFirst(*client) error { return nil }

// listTop finds the directories that clients share a walk by.
func listTop(c *client) error {
	top, err := os.ReadDir(c.Dir)
	c.seen = c.seen[:0]
	for _, d := range top {
		c.seen = append(c.seen, filepath.Join(c.Dir, d.Name()))
	}
	return err
}

// walkShare walks each nth directory.
func walkShare(c *client, i, n int) (ops int64, err error) {
	for ; i < len(c.seen) && err == nil; i += n {
		var did int64
		did, err = walk(&client{Dir: c.seen[i]})
		ops += did
	}
	return ops, err
}

// statShare stats each nth of the files, which are known.
func statShare(c *client, i, n int) (ops int64, err error) {
	const times = 50
	files := c.some(1000)
	var st unix.Stat_t
	for range times {
		for k := i; k < len(files); k += n {
			if err := unix.Stat(files[k], &st); err != nil {
				return 0, fmt.Errorf("stat %s: %w", files[k], err)
			}
			ops++
		}
	}
	return ops, nil
}

// createShare creates its part of the files in a directory of its own.
func createShare(c *client, i, n int) (ops int64, err error) {
	dir := filepath.Join(c.Dir, fmt.Sprintf("new%02d", i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	for k := i; k < c.count(4000); k += n {
		if err := os.WriteFile(fmt.Sprintf("%s/file%05d", dir, k), []byte("a small file\n"), 0o644); err != nil {
			return 0, err
		}
		ops++
	}
	return ops, nil
}
