package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/unionmount/unionmount/layers/sys"
)

// place is an existing directory, known by path and identity.
type place struct {
	what     string // "layer", "upper" ...
	path     string // absolute, links resolved
	given    string
	dev, ino uint64
}

func look(what, path string) (place, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{}, fail(nil, what+" "+path, "no such directory: make it, or correct the path")
	case err != nil:
		return place{}, fail(nil, what+" "+path, "%w", err)
	case !st.IsDir():
		return place{}, fail(nil, what+" "+path, "not a directory: name a directory")
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return place{}, fail(nil, what+" "+path, "%w", err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return place{what: what, path: real, given: path, dev: sys.Dev, ino: sys.Ino}, nil
}

func (p place) same(q place) bool { return p.dev == q.dev && p.ino == q.ino }

// inside tells whether p lies below q.
func (p place) inside(q place) bool {
	return p.path != q.path && strings.HasPrefix(p.path, strings.TrimSuffix(q.path, "/")+"/")
}

// check refuses what can't be mounted before anything changes.
func (e *Engine) check(r *Record) error {
	mnt, err := look("mountpoint", r.Mountpoint)
	if err != nil {
		return err
	}
	var lowers []place
	for _, l := range r.Layers {
		p, err := look("layer", l)
		if err != nil {
			return err
		}
		for _, q := range lowers {
			switch {
			case p.same(q):
				return fail(nil, "layer "+l, "it is given twice (%s): name each directory once", q.given)
			case p.inside(q):
				return fail(nil, "layer "+l, "it lies inside layer %s: layers must not contain each other", q.given)
			case q.inside(p):
				return fail(nil, "layer "+l, "it contains layer %s: layers must not contain each other", q.given)
			}
		}
		lowers = append(lowers, p)
	}
	var writable []place
	if r.Upper != "" && !r.OwnUpper {
		if writable, err = e.checkUpper(r, lowers); err != nil {
			return err
		}
	}
	for _, v := range r.Volumes {
		if v.Name == "" {
			if err := checkSource(v.Source); err != nil {
				return err
			}
		}
	}
	return e.checkMountpoint(mnt, lowers, writable, r)
}

func (e *Engine) checkUpper(r *Record, lowers []place) ([]place, error) {
	up, err := look("upper", r.Upper)
	if err != nil {
		return nil, err
	}
	for _, l := range lowers {
		switch {
		case up.same(l):
			return nil, fail(nil, "upper "+r.Upper, "it is a layer too: a layer is never written")
		case up.inside(l):
			return nil, fail(nil, "upper "+r.Upper, "it lies inside layer %s: choose a directory outside", l.given)
		case l.inside(up):
			return nil, fail(nil, "upper "+r.Upper, "layer %s lies inside it: choose a directory outside", l.given)
		}
	}
	if err := overlayUses(up); err != nil {
		return nil, err
	}
	out := []place{up}
	work, err := look("work", r.Work)
	if err != nil {
		var e *Error
		if _, statErr := os.Stat(r.Work); errors.As(err, &e) && errors.Is(statErr, fs.ErrNotExist) {
			return out, nil // it is made when the mount is: checked by its parent below
		}
		return nil, err
	}
	switch {
	case work.same(up) || work.inside(up) || up.inside(work):
		return nil, fail(nil, "work "+r.Work, "it must lie beside upper %s, not inside it nor around it", r.Upper)
	case work.dev != up.dev:
		return nil, fail(nil, "work "+r.Work, "it is on another file system than upper %s: put it beside", r.Upper)
	}
	for _, l := range lowers {
		if work.same(l) || work.inside(l) || l.inside(work) {
			return nil, fail(nil, "work "+r.Work, "it must not lie inside layer %s nor contain it", l.given)
		}
	}
	return append(out, work), nil
}

func checkSource(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(nil, "volume "+path, "no such directory or file on the host: make it first")
	case err != nil:
		return fail(nil, "volume "+path, "%w", err)
	case !st.IsDir() && !st.Mode().IsRegular():
		return fail(nil, "volume "+path, "neither a directory nor a regular file")
	}
	return nil
}

// checkMountpoint refuses a mountpoint from which the daemon would read itself. A layer may be covered: roots are opened first.
func (e *Engine) checkMountpoint(mnt place, lowers, writable []place, r *Record) error {
	for _, p := range append(append([]place(nil), lowers...), writable...) {
		if mnt.inside(p) {
			return fail(nil, "mountpoint "+r.Mountpoint, "it lies inside %s %s: choose a directory outside", p.what, p.given)
		}
	}
	for _, p := range writable {
		if mnt.same(p) || p.inside(mnt) {
			return fail(nil, "mountpoint "+r.Mountpoint, "%s %s is it or lies below it: choose another directory", p.what, p.given)
		}
	}
	for _, v := range r.Volumes {
		src, err := filepath.EvalSymlinks(v.Source)
		if err != nil {
			continue // a named volume that will be made below the root
		}
		p := place{path: src}
		if mnt.path == src || mnt.inside(p) || p.inside(mnt) {
			return fail(nil, "mountpoint "+r.Mountpoint, "volume %s and it lie inside each other: choose another directory", v.Source)
		}
	}
	root, err := filepath.EvalSymlinks(e.Root)
	if err != nil {
		root = filepath.Clean(e.Root)
	}
	if p := (place{path: root}); !r.Helper && (p.path == mnt.path || p.inside(mnt)) {
		return fail(nil, "mountpoint "+r.Mountpoint, "the root %s lies below it: choose another mountpoint or --root", e.Root)
	}
	return nil
}

// overlayUses refuses an upper that a kernel overlay has mounted.
func overlayUses(up place) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	mounts, err := sys.ParseMounts(f)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Type != "overlay" {
			continue
		}
		for opt := range strings.SplitSeq(m.Super, ",") {
			for _, key := range []string{"upperdir=", "workdir="} {
				dir, ok := strings.CutPrefix(opt, key)
				if !ok {
					continue
				}
				if p, err := look("upper", dir); err == nil && p.same(up) {
					return fail(ErrConflict, "upper "+up.given, "a kernel overlay at %s has it: unmount that first", m.Target)
				}
			}
		}
	}
	return nil
}
