package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	stackDirs   = 500 // of 20 files each, and as many files in a directory that all layers have
	unmergedDir = "deep"
)

// fillStack makes one of n layers. What all of them show is the same for each n: the directories, and the files of
// the merged one, are dealt out to the layers in turn; one tree is in the bottom layer only.
func fillStack(n int) func(string, int, float64) error {
	return func(dir string, layer int, scale float64) error {
		dirs := stackDirs
		if scale < 1 {
			dirs /= 5
		}
		common := filepath.Join(dir, "common")
		err := os.Mkdir(common, 0o755)
		for i := layer; i < dirs && err == nil; i += n {
			err = errors.Join(os.WriteFile(fmt.Sprintf("%s/file%03d", common, i), nil, 0o644), fillDir(fmt.Sprintf("%s/dir%03d", dir, i)))
		}
		for i := 0; i < dirs/10 && layer == 0 && err == nil; i++ {
			err = fillDir(fmt.Sprintf("%s/%s/dir%02d", dir, unmergedDir, i))
		}
		return err
	}
}

// fillDir makes a directory of 20 small files.
func fillDir(p string) error {
	err := os.MkdirAll(p, 0o755)
	for i := 0; i < 20 && err == nil; i++ {
		err = os.WriteFile(fmt.Sprintf("%s/file%02d", p, i), []byte("x"), 0o644)
	}
	return err
}

// fillNames spreads n names over two layers.
func fillNames(n int) func(string, int, float64) error {
	return func(dir string, layer int, _ float64) error {
		p := filepath.Join(dir, "wide")
		err := os.Mkdir(p, 0o755)
		for i := layer; i < n && err == nil; i += 2 {
			err = os.WriteFile(filepath.Join(p, "name"+strconv.Itoa(i)), nil, 0o644)
		}
		return err
	}
}

func fillFile(n int64) func(string, int, float64) error {
	return func(dir string, _ int, _ float64) error {
		f, err := os.Create(filepath.Join(dir, dataFile))
		if err != nil {
			return err
		}
		chunk := []byte(strings.Repeat("unionmount bench", 64<<10))
		for left := n; left > 0 && err == nil; left -= int64(len(chunk)) {
			_, err = f.Write(chunk[:min(left, int64(len(chunk)))])
		}
		return errors.Join(err, f.Close())
	}
}
