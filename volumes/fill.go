package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Data is a volume's data while nobody else can attach or detach it.
type Data struct {
	Path   string
	Others bool // other mounts have it attached

	locked *Locked
}

// Where what fills a volume is staged: beside the data, or, if that is another
// file system, inside it.
const (
	fillPrefix = ".fill-"             // in the volume's directory
	fillInside = ".unionmount.fill"   // in the data: unfinished
	fillDone   = ".unionmount.filled" // in the data: complete, being moved up
)

// Fill fills the data if it is empty. copy fills the empty directory that it is
// told, gives it its owner, mode and attributes, and says whether there was
// anything to copy. The content appears by one rename, or, where the data's root
// must stay (another file system, other mounts in it), name by name once all of it
// is there; what a crash interrupts then is finished by the next.
func (d *Data) Fill(copy func(dir string) (found bool, err error)) (filled bool, err error) {
	if err := errors.Join(d.finish(), d.sweep()); err != nil {
		return false, err
	}
	empty, err := isEmpty(d.Path)
	if err != nil || !empty {
		return false, err
	}
	beside, err := d.besides()
	if err != nil {
		return false, err
	}
	stage := filepath.Join(d.Path, fillInside)
	if beside {
		stage, err = os.MkdirTemp(d.locked.Dir(), fillPrefix)
	} else {
		err = os.Mkdir(stage, 0o700)
	}
	if err != nil {
		return false, err
	}
	found, err := copy(stage)
	if err == nil && found {
		err = sys.SyncFSOf(stage)
	}
	if err != nil || !found {
		return false, errors.Join(err, RemoveTree(stage))
	}
	return true, d.publish(stage, beside)
}

func (d *Data) publish(stage string, beside bool) error {
	keep, err := d.keepsOwner()
	if err != nil {
		return err
	}
	if beside && !d.Others {
		if keep {
			err = dress(stage, d.Path)
		}
		if err == nil {
			err = d.replace(stage)
		}
		if err != nil {
			return errors.Join(err, RemoveTree(stage))
		}
		return syncDir(d.locked.Dir())
	}
	if !keep {
		if err := dress(d.Path, stage); err != nil {
			return errors.Join(err, RemoveTree(stage))
		}
	}
	if beside {
		return d.moveUp(stage)
	}
	if err := os.Rename(stage, filepath.Join(d.Path, fillDone)); err != nil {
		return errors.Join(err, RemoveTree(stage))
	}
	return d.finish()
}

// replace renames a staged directory over the empty one that is the data.
func (d *Data) replace(stage string) error {
	dir, err := sys.Open(d.locked.Dir(), sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(dir)
	if err := sys.RenameAt(dir, filepath.Base(stage), dir, filepath.Base(d.Path), 0); err != nil {
		return fmt.Errorf("rename it over %s: %w", d.Path, err)
	}
	return nil
}

// finish moves up what is staged completely in the data itself.
func (d *Data) finish() error {
	if err := d.finishRestore(); err != nil {
		return err
	}
	stage := filepath.Join(d.Path, fillDone)
	if _, err := os.Lstat(stage); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.moveUp(stage)
}

// moveUp moves each name of stage into the data; one that is there by now stays.
func (d *Data) moveUp(stage string) error {
	from, err := sys.Open(stage, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(from)
	to, err := sys.Open(d.Path, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(to)
	var names []string
	if err := sys.ReadDir(from, func(e sys.Dirent) error { names = append(names, e.Name); return nil }); err != nil {
		return err
	}
	for _, n := range names {
		if err := place(from, to, n); err != nil && err != sys.EEXIST {
			return fmt.Errorf("fill: move %q: %w", n, err)
		}
	}
	return errors.Join(RemoveTree(stage), syncDir(d.Path))
}

// place moves a name from one directory to another where it is free; EEXIST else.
// nfs and most FUSE servers answer EINVAL to RENAME_NOREPLACE: there a link is as good,
// and what can't be linked (a directory) is looked for before it is moved.
func place(from, to int, name string) error {
	err := sys.RenameAt(from, name, to, name, sys.RENAME_NOREPLACE)
	if err != sys.EINVAL {
		return err
	}
	switch err := sys.LinkAt(from, name, to, name); err {
	case nil:
		return sys.UnlinkAt(from, name)
	case sys.EEXIST:
		return err
	}
	switch _, err := sys.StatAt(to, name); err {
	case nil:
		return sys.EEXIST
	case sys.ENOENT:
		return sys.RenameAt(from, name, to, name, 0)
	default:
		return err
	}
}

// sweep removes what an interrupted fill left unfinished.
func (d *Data) sweep() error {
	errs := []error{RemoveTree(filepath.Join(d.Path, fillInside))}
	entries, err := os.ReadDir(d.locked.Dir())
	errs = append(errs, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fillPrefix) {
			errs = append(errs, RemoveTree(filepath.Join(d.locked.Dir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// lostFound is what mkfs puts into a new file system.
const lostFound = "lost+found"

// isEmpty passes over what mkfs made.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	return len(entries) == 0 || len(entries) == 1 && entries[0].Name() == lostFound, err
}

// besides tells whether the volume's directory and the data are in one file
// system and one mount: a directory can be renamed from one to the other.
func (d *Data) besides() (bool, error) {
	a, err := whereIs(d.locked.Dir())
	if err != nil {
		return false, err
	}
	b, err := whereIs(d.Path)
	return a == b && filepath.Dir(d.Path) == d.locked.Dir(), err
}

type whereabouts struct {
	dev   uint64
	mount int
}

func whereIs(path string) (w whereabouts, err error) {
	fd, err := sys.Open(path, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return w, err
	}
	defer sys.Close(fd)
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return w, err
	}
	w.dev = st.Dev
	w.mount, err = sys.MountID(fd)
	return w, err
}

// keepsOwner tells whether the user said whose the data is (o=uid=,gid=,mode=).
func (d *Data) keepsOwner() (bool, error) {
	v, err := d.locked.Volume()
	for word := range strings.SplitSeq(v.Options["o"], ",") {
		key, _, _ := strings.Cut(strings.TrimSpace(word), "=")
		if key == "uid" || key == "gid" || key == "mode" {
			return true, err
		}
	}
	return false, err
}

// dress gives the directory at path the owner, attributes and mode of another.
func dress(path, like string) error {
	from, err := sys.Open(like, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(from)
	to, err := sys.Open(path, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(to)
	st, err := sys.StatFd(from)
	if err != nil {
		return err
	}
	if err := sys.ChownFd(to, int(st.Uid), int(st.Gid)); err != nil && err != sys.EPERM {
		return err
	}
	names, err := sys.ListXattrFd(from)
	if err != nil && err != sys.ENOTSUP {
		return err
	}
	for _, n := range names {
		value, err := sys.GetXattrFd(from, n)
		if err == nil {
			err = sys.SetXattrFd(to, n, value, 0)
		}
		if err != nil && err != sys.ENODATA && err != sys.ENOTSUP && err != sys.EPERM {
			return fmt.Errorf("attribute %s: %w", n, err)
		}
	}
	return sys.ChmodFd(to, st.Mode&0o7777)
}
