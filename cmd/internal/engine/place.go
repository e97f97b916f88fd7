package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// place is an existing directory or file, known by its path, its identity and
// where it lies in its file system: two paths may lead into each other without
// looking so, by bind mounts, and look so without it, across file systems.
type place struct {
	what     string // "layer", "upper" ...
	given    string // as the user wrote it
	path     string // absolute, links resolved
	dir      bool
	dev, ino uint64
	fs, sub  string // super block and path in it; "" if the mount table doesn't tell
}

// errMissing is the kind of a directory that isn't there.
var errMissing = errors.New("missing")

// look finds a directory. A missing one is errMissing.
func look(what, path string) (place, error) {
	p, err := lookAny(what, path)
	if err == nil && !p.dir {
		err = fail(nil, what+" "+path, "not a directory: name a directory")
	}
	return p, err
}

// lookAny finds a directory or file.
func lookAny(what, path string) (place, error) {
	p := place{what: what, given: path}
	st, err := os.Stat(path)
	if err == nil && sys.Answers(path) == sys.ENOTCONN { // the kernel remembers what a dead server said
		err = sys.ENOTCONN
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, fail(errMissing, what+" "+path, "no such directory: make it, or correct the path")
	case errors.Is(err, sys.ENOTCONN):
		return p, fail(nil, what+" "+path, "a dead mount covers it: unionmount umount %s, or umount -l %s", path, path)
	case err != nil:
		return p, fail(nil, what+" "+path, "%w", bare(err))
	}
	p.dir = st.IsDir()
	if p.path, err = filepath.EvalSymlinks(path); err != nil {
		return p, fail(nil, what+" "+path, "%w", bare(err))
	}
	fd, err := sys.Open(p.path, sys.O_PATH)
	if err != nil {
		return p, fail(nil, what+" "+path, "%w", err)
	}
	defer sys.Close(fd)
	return p, p.identify(fd)
}

func (p *place) identify(fd int) error {
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return fail(nil, p.what+" "+p.given, "stat: %w", err)
	}
	p.dev, p.ino = st.Dev, st.Ino
	id, err := sys.MountID(fd)
	if err != nil {
		return nil // an old kernel: paths have to do
	}
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if rel, ok := below(p.path, m.Target); m.ID == id && ok {
			p.fs, p.sub = m.Dev, filepath.Join(m.Root, rel)
		}
	}
	return nil
}

// bare takes the path off an error whose message has it already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// below tells whether path is dir or lies in it, and where.
func below(path, dir string) (rel string, ok bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (p place) same(q place) bool { return p.dev == q.dev && p.ino == q.ino }

// inside tells whether p lies below q in the tree that q is.
func (p place) inside(q place) bool {
	if p.fs != "" && q.fs != "" {
		rel, ok := below(p.sub, q.sub)
		return p.fs == q.fs && ok && rel != ""
	}
	return p.under(q.path)
}

// under tells whether a mount at path would cover p.
func (p place) under(path string) bool {
	rel, ok := below(p.path, path)
	return ok && rel != ""
}

// nearest is the innermost existing directory at or above path: where it will be made.
func nearest(what, path string) (place, error) {
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			p, err := look(what, dir)
			p.given = path
			return p, err
		}
	}
}
