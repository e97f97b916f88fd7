package volumes

import (
	"errors"
	"fmt"
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

// fillPrefix begins the name, in the volume's directory, of what will fill the data.
const fillPrefix = ".fill-"

// Filling is a directory whose content and looks an empty volume gets.
type Filling interface {
	Empty() (bool, error)
	// CopyTo fills an empty directory, and gives it owner, mode and attributes.
	CopyTo(dir string) error
}

// FillFunc is a Filling that is never empty, by what makes it.
type FillFunc func(dir string) error

// Empty says no.
func (FillFunc) Empty() (bool, error) { return false, nil }

// CopyTo makes it.
func (f FillFunc) CopyTo(dir string) error { return f(dir) }

// Fill fills the data if it is empty. An empty directory gives its looks alone, in
// place and without a sync: the data are empty still, and the next Fill does it
// again. Else the content appears by one rename, or, where the data's root
// must stay (another file system, other mounts in it), name by name once all of it
// is there; what a crash interrupts then is finished by the next.
func (d *Data) Fill(from Filling) (filled bool, err error) {
	if err := errors.Join(d.finish(), d.sweep()); err != nil {
		return false, err
	}
	empty, err := isEmpty(d.Path)
	if err != nil || !empty {
		return false, err
	}
	if empty, err = from.Empty(); err != nil || empty {
		return false, errors.Join(err, d.look(from))
	}
	beside, err := d.besides()
	if err != nil {
		return false, err
	}
	if !beside {
		return d.fillInside(from)
	}
	stage, err := os.MkdirTemp(d.locked.Dir(), fillPrefix)
	if err != nil {
		return false, err
	}
	if err := copyTo(stage, from); err != nil {
		return false, errors.Join(err, RemoveTree(stage))
	}
	return true, d.publish(stage)
}

// look gives the data the looks of an empty directory, unless the user said which they have.
func (d *Data) look(of Filling) error {
	keep, err := d.keepsOwner()
	if err != nil || keep {
		return err
	}
	return of.CopyTo(d.Path)
}

// copyTo fills a stage, and syncs it.
func copyTo(stage string, from Filling) error {
	if err := from.CopyTo(stage); err != nil {
		return err
	}
	return sys.SyncFSOf(stage)
}

// fillInside fills data whose file system is another.
func (d *Data) fillInside(from Filling) (filled bool, err error) {
	s, err := d.begin()
	if err != nil {
		return false, err
	}
	if err = copyTo(s.path(), from); err == nil {
		err = d.dressed(s.path())
	}
	if err == nil {
		s.Step = stepMove
		err = s.note()
	}
	if err != nil {
		return false, errors.Join(err, s.end())
	}
	return true, s.finish()
}

// dressed gives the data the owner, mode and attributes of the stage, unless the user said which it has.
func (d *Data) dressed(stage string) error {
	keep, err := d.keepsOwner()
	if err != nil || keep {
		return err
	}
	return dress(d.Path, stage)
}

// publish makes a stage beside the data its content.
func (d *Data) publish(stage string) error {
	if d.Others {
		return d.publishTo(stage)
	}
	keep, err := d.keepsOwner()
	if err == nil && keep {
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

// publishTo moves a stage beside the data into the directory that others have attached.
func (d *Data) publishTo(stage string) error {
	s := &inside{Stage: filepath.Base(stage), Beside: true, Step: stepMove, data: d, dir: -1}
	err := d.dressed(stage)
	if err == nil {
		err = s.open()
	}
	if err == nil {
		err = s.note()
	}
	if err != nil {
		return errors.Join(err, RemoveTree(stage))
	}
	return s.finish()
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

// sweep removes what an interrupted fill left unfinished.
func (d *Data) sweep() error {
	entries, err := os.ReadDir(d.locked.Dir())
	errs := []error{err}
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
