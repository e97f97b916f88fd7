// Package exercise exercises one file as fsx does: random reads, writes, mappings, holes, copies inside of the file and
// changes of size, each checked against an image in memory of what the file must hold. A read-only descriptor and a
// read-only mapping that were made before the file's first change must show every later one: the file is meant to
// lie in a lower layer of a union at the start.
package exercise

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Config says what to exercise. Path must be given.
type Config struct {
	// Path is an existing file, which may be changed.
	Path string
	// Steps is the number of operations. 0: 10,000.
	Steps int
	Seed  int64
	// MaxSize bounds the file. 0: 256 KiB.
	MaxSize int64
	// Remount makes the filesystem anew; it is called between steps, once in RemountEvery on the average, with no
	// descriptor open. Nil: never.
	Remount      func() error
	RemountEvery int // 0: 2,000

	// drop injects the fault that a step is done to the image only.
	drop func(step int) bool
}

// Run exercises the file. The error tells seed, step and the steps before.
func Run(cfg Config) error {
	if cfg.Steps == 0 {
		cfg.Steps = 10_000
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 256 << 10
	}
	if cfg.RemountEvery == 0 {
		cfg.RemountEvery = 2_000
	}
	if cfg.drop == nil {
		cfg.drop = func(int) bool { return false }
	}
	e := &exerciser{cfg: cfg, rng: rand.New(rand.NewSource(cfg.Seed))}
	err := e.run()
	if e := e.close(); err == nil && e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("exercise %s (seed %d, step %d): %w\nthe last steps:\n%s", cfg.Path, cfg.Seed, e.step, err,
			strings.Join(e.log[max(0, len(e.log)-20):], "\n"))
	}
	return nil
}

// exerciser is one run.
type exerciser struct {
	cfg   Config
	rng   *rand.Rand
	image []byte // what the file must hold
	step  int
	log   []string

	file   *os.File // read and write
	old    *os.File // read-only, opened before the first change since the last (re)mount
	oldMap []byte   // read-only and shared, of old's first pages
}

func (e *exerciser) run() error {
	if err := e.openFirst(); err != nil {
		return err
	}
	for e.step = 1; e.step <= e.cfg.Steps; e.step++ {
		if err := e.once(); err != nil {
			return err
		}
		if err := e.check(); err != nil {
			return err
		}
		if e.cfg.Remount != nil && e.rng.Intn(e.cfg.RemountEvery) == 0 {
			e.note("remount")
			if err := e.remount(); err != nil {
				return err
			}
		}
	}
	e.step = e.cfg.Steps
	return e.checkWhole()
}

// openFirst takes the file as it is, and the read-only views of it.
func (e *exerciser) openFirst() error {
	content, err := os.ReadFile(e.cfg.Path)
	if err != nil {
		return err
	}
	if e.image == nil {
		e.image = content
	} else if !bytes.Equal(e.image, content) {
		return fmt.Errorf("after remount: %s", firstDifference(content, e.image, 0))
	}
	if e.old, err = os.Open(e.cfg.Path); err != nil {
		return err
	}
	if size := len(e.image); size > 0 {
		if e.oldMap, err = unix.Mmap(int(e.old.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return &os.PathError{Op: "mmap", Path: e.cfg.Path, Err: err}
		}
	}
	return e.reopen()
}

// reopen takes a new descriptor for writing.
func (e *exerciser) reopen() error {
	if e.file != nil {
		if err := e.file.Close(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(e.cfg.Path, os.O_RDWR, 0)
	e.file = f
	return err
}

func (e *exerciser) remount() error {
	if err := e.close(); err != nil {
		return err
	}
	if err := e.cfg.Remount(); err != nil {
		return err
	}
	return e.openFirst()
}

// close closes all that is open.
func (e *exerciser) close() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if e.oldMap != nil {
		keep(unix.Munmap(e.oldMap))
	}
	for _, f := range []*os.File{e.file, e.old} {
		if f != nil {
			keep(f.Close())
		}
	}
	e.oldMap, e.file, e.old = nil, nil, nil
	return first
}

func (e *exerciser) note(format string, args ...any) {
	e.log = append(e.log, fmt.Sprintf("%d: ", e.step)+fmt.Sprintf(format, args...))
	if len(e.log) > 1000 {
		e.log = append([]string(nil), e.log[len(e.log)-100:]...)
	}
}
