package bench

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// tree is what the layers of a scenario hold. It is made once and shared by all
// rounds and peers: lowers don't change.
type tree struct {
	name   string
	layers int // at the size it has by default
	// fill makes one layer below dir; 0 is the bottom. scale is 1, or less for a quick run.
	fill func(dir string, layer int, scale float64) error
	like string // a tree of another name that is the same
	bare bool   // without a plain copy
}

// The trees. Sizes are those of docs/performance.md; a quick run has an eighth.
var (
	sourceTree = tree{name: "source", layers: 2, fill: fillSource}
	wideTree   = tree{name: "wide", layers: 3, fill: fillWide}
	dataTree   = tree{name: "data", layers: 1, fill: fillData}
	goTree     = tree{name: "go", layers: 1, fill: fillGo}
	emptyTree  = tree{name: "empty", layers: 1, fill: func(string, int, float64) error { return nil }}
)

const (
	sourceDirs   = 640 // of 20 files each
	sourceFiles  = 20
	wideNames    = 5000 // in each of the layers
	dataFile     = "file.dat"
	dataBytes    = 1 << 30
	changedEvery = 50 // of the source tree's files the upper layer has each so manieth
)

func sourceDir(i int) string { return fmt.Sprintf("pkg%02d/dir%03d", i%32, i) }

func sourceFile(i int) string { return fmt.Sprintf("file%02d.go", i) }

// fillSource makes a source tree: 12,800 files, most of them below 8 KiB; the
// second layer changes some.
func fillSource(dir string, layer int, scale float64) error {
	rng := rand.New(rand.NewPCG(1, uint64(layer)))
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = byte(' ' + rng.IntN(90))
	}
	for d := range int(sourceDirs * scale) {
		p := filepath.Join(dir, sourceDir(d))
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
		for f := range sourceFiles {
			if layer > 0 && (d*sourceFiles+f)%changedEvery != 0 {
				continue
			}
			size := 200 + rng.IntN(8<<10)
			if rng.IntN(20) == 0 {
				size = rng.IntN(len(text))
			}
			if err := os.WriteFile(filepath.Join(p, sourceFile(f)), text[:size], 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillWide makes one directory of many names; layers share a fifth of theirs.
func fillWide(dir string, layer int, scale float64) error {
	p := filepath.Join(dir, "wide")
	if err := os.Mkdir(p, 0o755); err != nil {
		return err
	}
	n := int(wideNames * scale)
	for i := range n {
		if err := os.WriteFile(filepath.Join(p, fmt.Sprintf("name%06d", layer*n*4/5+i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fillData makes one large file of random bytes.
func fillData(dir string, _ int, scale float64) error {
	f, err := os.Create(filepath.Join(dir, dataFile))
	if err != nil {
		return err
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(2, 0))
	buf := make([]byte, 1<<20)
	for range int(dataBytes*scale) >> 20 {
		for i := 0; i < len(buf); i += 8 {
			v := rng.Uint64()
			for k := range 8 {
				buf[i+k] = byte(v >> (8 * k))
			}
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Sync()
}

// give gives a tree to a user.
func give(dir string, uid int) error {
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	})
}

// readTree reads all that a tree holds.
func readTree(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, err := d.Info(); err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		return errors.Join(err, f.Close())
	})
}
