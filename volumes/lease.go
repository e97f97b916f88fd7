package volumes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/driver"
)

// Use is one place where a mount has a volume.
type Use struct {
	Mount    string
	Pid      int // of the daemon; 0: the mount isn't running
	Since    time.Time
	Path     string
	ReadOnly bool
}

const leasesDir = "leases"

// Lease holds a volume for one mount, at all its paths: a flocked file, so that a
// killed daemon holds nothing. The driver's Mount and Unmount go with it.
type Lease struct {
	store  *Store
	volume string
	file   *os.File
}

// Attach makes a volume's data appear and takes a lease on it. prepare is called
// before anybody else may attach or detach the volume, with the path of the data,
// to fill it. If it fails nothing is attached.
func (s *Store) Attach(ctx context.Context, name string, uses []Use, prepare func(*Data) error) (lease *Lease, data string, err error) {
	l, err := s.Lock(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	d, err := l.Driver()
	if err != nil {
		return nil, "", err
	}
	others, err := l.usesFor(ctx, uses[0].Mount)
	if err != nil {
		return nil, "", err
	}
	for _, u := range others {
		if u.Mount == uses[0].Mount {
			return nil, "", fail(ErrConflict, "attach %s: the daemon %d of mount %s has not let go of it yet: try again", name, u.Pid, u.Mount)
		}
	}
	path := filepath.Join(l.Dir(), leasesDir, uses[0].Mount)
	a, err := l.lease(ctx, d, path, uses, len(others))
	if err != nil {
		return nil, "", err
	}
	filling := &Data{Path: a.data, Others: len(others) > 0, locked: l}
	if err = prepare(filling); err == nil {
		err = l.note(uses)
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("attach %s: %w", name, err), l.detach(ctx, a))
	}
	return &Lease{s, name, a.file}, a.data, nil
}

// attachment is a lease, and where the volume's data appeared.
type attachment struct {
	data string
	file *os.File
}

// lease takes a lease, has the driver mount, and finishes what a crash interrupted
// if nobody else has the volume. The lease comes first: whoever finds it after a kill
// knows that there may be something to unmount.
func (l *Locked) lease(ctx context.Context, d driver.Driver, path string, uses []Use, others int) (*attachment, error) {
	first, err := makeLeases(path)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", l.Name, err)
	}
	f, err := takeLease(path, uses)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", l.Name, err)
	}
	a := &attachment{file: f}
	if a.data, err = d.Mount(ctx, holder(path)); err != nil {
		err = Judge(fmt.Errorf("error while mounting volume %s: %w", l.Name, err))
		err = errors.Join(err, os.Remove(path), f.Close())
		if first {
			err = errors.Join(err, os.Remove(filepath.Dir(path)))
		}
		return nil, err
	}
	if others == 0 {
		err = (&Data{Path: a.data, locked: l}).finish()
	}
	if err != nil {
		return nil, errors.Join(err, l.detach(ctx, a))
	}
	return a, nil
}

// detach gives up what lease took.
func (l *Locked) detach(ctx context.Context, a *attachment) error {
	path := a.file.Name()
	return errors.Join(a.file.Close(), l.end(context.WithoutCancel(ctx), path))
}

// holder names a lease to a plugin, as Docker names a container: by 64 digits.
func holder(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}

// makeLeases makes the directory of a lease; first tells whether there was none.
func makeLeases(path string) (first bool, err error) {
	err = os.Mkdir(filepath.Dir(path), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// takeLease makes the flocked file. Whoever looks whether a lease is held has the lock for a moment.
func takeLease(path string, uses []Use) (*os.File, error) {
	text, err := json.Marshal(uses)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err = sys.Flock(int(f.Fd()), true)
		if err != sys.EWOULDBLOK || time.Now().After(end) {
			break
		}
	}
	if err == nil {
		err = f.Truncate(0) // nobody else's by now
	}
	if err == nil {
		_, err = f.Write(text)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Release gives up the lease; the driver unmounts the volume if it was the last.
func (l *Lease) Release(ctx context.Context) error {
	lock, err := l.store.Lock(ctx, l.volume)
	if err != nil {
		return errors.Join(err, l.file.Close()) // the next who has the lock clears up
	}
	path := l.file.Name()
	if err := l.file.Close(); err != nil {
		return errors.Join(err, lock.Unlock())
	}
	return errors.Join(lock.end(ctx, path), lock.Unlock())
}

// Uses returns who has the volume attached now, also those whose holder was killed while
// what he had is used still. Leases of the other killed ones are ended first.
func (l *Locked) Uses(ctx context.Context) ([]Use, error) { return l.usesFor(ctx, "") }

// usesFor is Uses for a mount that attaches: a lease of its own name is its
// predecessor's, and ended.
func (l *Locked) usesFor(ctx context.Context, mount string) ([]Use, error) {
	uses, dead, err := l.store.leases(l.Name)
	free, kept, err2 := l.store.outlived(l.Name, dead)
	err = errors.Join(err, err2)
	for _, path := range kept {
		if name := filepath.Base(path); name == mount {
			free = append(free, path)
		} else {
			uses = append(uses, Use{Mount: name})
		}
	}
	for _, path := range free {
		ended := l.end(ctx, path)
		if errors.Is(ended, driver.ErrRefused) {
			// A kill came before the plugin mounted anything, or it was asked twice now.
			ended = errors.Join(ended, os.Remove(path))
		}
		err = errors.Join(err, ended)
	}
	return uses, err
}

// end unmounts what a lease that nobody holds had mounted, then removes it.
func (l *Locked) end(ctx context.Context, path string) error {
	live, dead, err := l.store.leases(l.Name)
	if err != nil {
		return err
	}
	if _, err := l.Volume(); errors.Is(err, ErrNotFound) {
		return nil // removed by hand: nothing is left to give back
	}
	d, err := l.Driver()
	if err == nil {
		err = d.Unmount(ctx, holder(path), len(live) == 0 && len(dead) <= 1)
	}
	if err != nil {
		return Judge(fmt.Errorf("error while unmounting volume %s: %w", l.Name, err))
	}
	if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// Uses returns who has a volume attached; it waits for nobody, and a plugin isn't asked.
func (s *Store) Uses(volume string) ([]Use, error) {
	live, _, err := s.leases(volume)
	return live, err
}

// leases reads the leases of a volume, and the paths of those that nobody holds any more.
func (s *Store) leases(volume string) (live []Use, dead []string, err error) {
	dir := filepath.Join(s.dir, volume, leasesDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		uses, held, readErr := readLease(path)
		switch {
		case errors.Is(readErr, fs.ErrNotExist): // released since
		case readErr != nil:
			err = errors.Join(err, readErr)
		case held && len(uses) == 0: // being written
			live = append(live, Use{Mount: e.Name()})
		case held:
			live = append(live, uses...)
		default:
			dead = append(dead, path)
		}
	}
	return live, dead, err
}

func readLease(path string) (uses []Use, held bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if err := sys.Flock(int(f.Fd()), false); err == nil {
		return nil, false, nil
	} else if err != sys.EWOULDBLOK {
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	_ = json.NewDecoder(f).Decode(&uses) // cut short: its holder is writing it
	return uses, true, nil
}

// Sweep ends the leases that killed daemons left on a volume, but for those that are used still.
func (s *Store) Sweep(ctx context.Context, volume string) error {
	_, dead, err := s.leases(volume)
	if err != nil {
		return err
	}
	if free, _, err := s.outlived(volume, dead); err != nil || len(free) == 0 {
		return err
	}
	l, err := s.Lock(ctx, volume)
	if err != nil {
		return err
	}
	_, err = l.Uses(ctx)
	return errors.Join(err, l.Unlock())
}

// Volume is the name of what the lease holds.
func (l *Lease) Volume() string { return l.volume }
