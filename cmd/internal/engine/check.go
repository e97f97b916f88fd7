package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"unicode/utf8"

	"github.com/unionmount/unionmount/layers/sys"
)

// check refuses what can't be mounted before anything changes.
func (e *Engine) check(r *Record) error {
	if err := errors.Join(checkMachine(r), checkText(r), checkMarks(r)); err != nil {
		return err
	}
	mnt, err := look("mountpoint", r.Mountpoint)
	if err != nil {
		return err
	}
	r.Mountpoint = mnt.path // what the mount table will say
	lowers, err := checkLayers(r.Layers)
	if err != nil {
		return err
	}
	writable, err := e.checkUpper(r, lowers)
	if err != nil {
		return err
	}
	sources, err := checkSources(r.Volumes)
	if err != nil {
		return err
	}
	if err := e.checkMountpoint(mnt, append(lowers, writable...), sources, r); err != nil {
		return err
	}
	way, err := chooseVolumeIO(r)
	if err != nil {
		return err
	}
	_, err = chooseIO(r, way)
	return err
}

// checkMachine says what is missing to mount anything at all.
func checkMachine(r *Record) error {
	if _, err := os.Stat(fuseDevice); errors.Is(err, fs.ErrNotExist) {
		return fail(ErrUnsupported, "mount", "no %s: load the kernel's fuse module, or let the container have the device", fuseDevice)
	}
	if sys.HasCap(sys.CAP_SYS_ADMIN) {
		return nil
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return fail(ErrUnsupported, "mount", "no fusermount3, which mounts for plain users: install fuse3, or mount as root")
	}
	if f := allowOtherFact(); r.Options.AllowOther && f.Value != "yes" {
		return fail(ErrUnsupported, "option allow_other", "a plain user may not: root can write %s", f.Remedy)
	}
	if fd, err := sys.Open(fuseDevice, sys.O_RDWR); err != nil {
		return fail(ErrUnsupported, fuseDevice, "%w: root can chmod 666 it", err)
	} else {
		_ = sys.Close(fd) // fusermount3 opens its own
	}
	return nil
}

// checkMarks refuses what marks in user.*, which anybody may set, can't say.
func checkMarks(r *Record) error {
	if r.Options.Metacopy && (r.Options.UserXattr || !sys.HasCap(sys.CAP_SYS_ADMIN)) {
		return fail(ErrUnsupported, "option metacopy=on", "marks in user.* can't say it, since anybody may set those: leave it out, or mount as root without userxattr")
	}
	return nil
}

// checkText refuses a path that a record, which is JSON, can't keep. Names inside
// a layer may be any bytes.
func checkText(r *Record) error {
	paths := append([]string{r.Mountpoint, r.Upper, r.Work}, r.Layers...)
	for _, v := range r.Volumes {
		paths = append(paths, v.Source, v.Target)
	}
	for _, p := range paths {
		if !utf8.ValidString(p) {
			return fail(nil, fmt.Sprintf("path %q", p), "not UTF-8, so no record can keep it: rename it, or name it by a symbolic link")
		}
	}
	return nil
}

// readable refuses a layer whose root this user can't list.
func readable(p place) error {
	fd, err := sys.Open(p.path, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return fail(nil, p.what+" "+p.given, "%w: let this user read it, or mount as another", err)
	}
	return sys.Close(fd)
}

func checkLayers(layers []string) (lowers []place, err error) {
	for _, l := range layers {
		p, err := look("layer", l)
		if err != nil {
			return nil, err
		}
		if err := readable(p); err != nil {
			return nil, err
		}
		for _, q := range lowers {
			switch {
			case p.same(q):
				return nil, fail(nil, "layer "+l, "it is given twice (%s): name each directory once", q.given)
			case p.inside(q):
				return nil, fail(nil, "layer "+l, "it lies inside layer %s: layers must not contain each other", q.given)
			case q.inside(p):
				return nil, fail(nil, "layer "+l, "it contains layer %s: layers must not contain each other", q.given)
			}
		}
		lowers = append(lowers, p)
	}
	return lowers, nil
}

// checkSources looks at the host paths; named volumes may be yet to be made.
func checkSources(vs []VolumeRef) (sources []place, err error) {
	for _, v := range vs {
		if v.Name != "" || v.Tmpfs != nil {
			continue
		}
		p, err := lookAny("volume", v.Source)
		if errors.Is(err, errMissing) && v.asked.CreateSource {
			continue
		}
		if errors.Is(err, errMissing) {
			return nil, fail(errMissing, "volume "+v.Source, "no such directory or file on the host: make it first")
		}
		if err != nil {
			return nil, err
		}
		if st, err := os.Stat(v.Source); err != nil || !st.IsDir() && !st.Mode().IsRegular() {
			return nil, fail(nil, "volume "+v.Source, "neither a directory nor a regular file")
		}
		sources = append(sources, p)
	}
	return sources, nil
}

// checkMountpoint refuses a mountpoint from which the daemon would read itself,
// or which would cover what a later command needs. A layer may be covered: roots are opened first.
func (e *Engine) checkMountpoint(mnt place, parts, sources []place, r *Record) error {
	what := "mountpoint " + r.Mountpoint
	for _, p := range parts {
		if mnt.inside(p) {
			return fail(nil, what, "it lies inside %s %s: choose a directory outside", p.what, p.given)
		}
		if p.what != "layer" && (mnt.same(p) || p.under(mnt.path)) {
			return fail(nil, what, "%s %s is it or lies below it: choose another directory", p.what, p.given)
		}
	}
	for _, p := range sources {
		if mnt.same(p) || mnt.inside(p) || mnt.under(p.path) || p.under(mnt.path) {
			return fail(nil, what, "volume %s and it are one or lie inside each other: choose another directory", p.given)
		}
	}
	if r.Helper && !r.named() {
		return nil // nothing of it is kept below the root
	}
	root, err := nearest("root", e.Root)
	if err != nil {
		return err
	}
	if root.path == mnt.path || root.under(mnt.path) {
		return fail(nil, what, "the root %s lies below it: choose another mountpoint or --root", e.Root)
	}
	for _, dir := range []string{"volumes", "mounts"} {
		if _, ok := below(mnt.path, root.path+"/"+dir); ok {
			return fail(nil, what, "it lies inside %s/%s, which holds volumes and uppers: choose a directory outside", e.Root, dir)
		}
	}
	return nil
}

// named tells whether the mount has a named volume.
func (r *Record) named() bool {
	for _, v := range r.Volumes {
		if v.Name != "" {
			return true
		}
	}
	return false
}

const fuseDevice = "/dev/fuse"

// overlayUses refuses an upper or work that a kernel overlay has mounted.
func overlayUses(p place) error {
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Type != "overlay" {
			continue
		}
		for opt := range strings.SplitSeq(m.Super, ",") {
			key, dir, _ := strings.Cut(opt, "=")
			if key != "upperdir" && key != "workdir" {
				continue
			}
			if q, err := look(key, sys.UnescapeMount(dir)); err == nil && q.same(p) {
				return fail(ErrConflict, p.what+" "+p.given, "a kernel overlay at %s has it: unmount that first", m.Target)
			}
		}
	}
	return nil
}
