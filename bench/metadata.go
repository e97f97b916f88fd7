package bench

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// walk lists every directory and stats every name, as find -ls does.
func walk(c *client) (int64, error) {
	var n int64
	c.seen = c.seen[:0]
	err := filepath.WalkDir(c.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n++
		if d.Type().IsRegular() {
			c.seen = append(c.seen, p)
		}
		var st unix.Stat_t
		return unix.Lstat(p, &st)
	})
	return n, err
}

// find is a walk for those that only want the names.
func find(c *client) error {
	_, err := walk(c)
	return err
}

// some spreads n of the files found over all of them.
func (c *client) some(n int) []string {
	if len(c.seen) <= n {
		return c.seen
	}
	picked := make([]string, 0, n)
	for i := range n {
		picked = append(picked, c.seen[i*len(c.seen)/n])
	}
	return picked
}

func statAgain(c *client) (int64, error) {
	const times = 20
	files := c.some(1000)
	var st unix.Stat_t
	for range times {
		for _, p := range files {
			if err := unix.Stat(p, &st); err != nil {
				return 0, fmt.Errorf("stat %s: %w", p, err)
			}
		}
	}
	return int64(times * len(files)), nil
}

func openClose(c *client) (int64, error) {
	const times = 20
	files := c.some(500)
	for range times {
		for _, p := range files {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return 0, fmt.Errorf("open %s: %w", p, err)
			}
			if err := unix.Close(fd); err != nil {
				return 0, err
			}
		}
	}
	return int64(times * len(files)), nil
}

// readAll opens, reads and closes small files, a third of the tree.
func readAll(c *client) (int64, error) {
	files := c.some(len(c.seen) / 3)
	buf := make([]byte, 128<<10)
	for _, p := range files {
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open %s: %w", p, err)
		}
		for {
			n, err := unix.Read(fd, buf)
			if err != nil {
				return 0, errors.Join(err, unix.Close(fd))
			}
			if n == 0 {
				break
			}
		}
		if err := unix.Close(fd); err != nil {
			return 0, err
		}
	}
	return int64(len(files)), nil
}

// listWide lists one directory of many names.
func listWide(times int) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		var n int64
		for range times {
			names, err := listNames(filepath.Join(c.Dir, "wide"))
			if err != nil {
				return 0, err
			}
			n += int64(names)
		}
		return n, nil
	}
}

func listNames(dir string) (n int, err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 32<<10)
	for {
		got, err := unix.ReadDirent(fd, buf)
		if err != nil || got == 0 {
			return n, err
		}
		_, count, _ := unix.ParseDirent(buf[:got], -1, nil)
		n += count
	}
}

func (c *client) count(full int) int { return max(100, int(float64(full)*c.Scale)) }

func (c *client) newFile(i int) string {
	return filepath.Join(c.Dir, "new", fmt.Sprintf("file%05d", i))
}

func createFiles(c *client) (int64, error) {
	if err := os.Mkdir(filepath.Join(c.Dir, "new"), 0o755); err != nil {
		return 0, err
	}
	n := c.count(5000)
	text := []byte("a small file, as most are\n")
	for i := range n {
		fd, err := unix.Open(c.newFile(i), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return 0, err
		}
		if _, err := unix.Write(fd, text); err != nil {
			return 0, err
		}
		if err := unix.Close(fd); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

func renameFiles(c *client) (int64, error) {
	n := c.count(5000)
	for i := range n {
		if err := unix.Rename(c.newFile(i), c.newFile(i)+".renamed"); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

func unlinkFiles(c *client) (int64, error) {
	n := c.count(5000)
	for i := range n {
		if err := unix.Unlink(c.newFile(i) + ".renamed"); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

func makeDirs(c *client) (int64, error) {
	n := c.count(2000)
	for i := range n {
		p := filepath.Join(c.Dir, "new", fmt.Sprintf("dir%05d", i))
		if err := unix.Mkdir(p, 0o755); err != nil {
			return 0, err
		}
	}
	for i := range n {
		if err := unix.Rmdir(filepath.Join(c.Dir, "new", fmt.Sprintf("dir%05d", i))); err != nil {
			return 0, err
		}
	}
	return int64(2 * n), nil
}

// chmodFiles and appendFiles take files of their own: a copy-up happens once.
func chmodFiles(c *client) (int64, error) {
	files := c.some(c.count(3000))
	for i := 0; i < len(files); i += 2 {
		if err := unix.Chmod(files[i], 0o600); err != nil {
			return 0, fmt.Errorf("chmod %s: %w", files[i], err)
		}
	}
	return int64(len(files)+1) / 2, nil
}

func appendFiles(c *client) (int64, error) {
	files := c.some(c.count(3000))
	var n int64
	for i := 1; i < len(files); i += 2 {
		f, err := os.OpenFile(files[i], os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return 0, err
		}
		_, err = io.WriteString(f, "// changed\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// removeTree removes everything, as rm -rf does.
func removeTree(c *client) (n int64, err error) {
	top, err := os.ReadDir(c.Dir)
	for _, d := range top {
		if err == nil {
			err = removeBelow(filepath.Join(c.Dir, d.Name()), d, &n)
		}
	}
	return n, err
}

func removeBelow(p string, d fs.DirEntry, n *int64) error {
	*n++
	if !d.IsDir() {
		return unix.Unlink(p)
	}
	names, err := os.ReadDir(p)
	for _, d := range names {
		if err == nil {
			err = removeBelow(filepath.Join(p, d.Name()), d, n)
		}
	}
	return errors.Join(err, unix.Rmdir(p))
}
