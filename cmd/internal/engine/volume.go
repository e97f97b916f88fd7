package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

// NewVolume is a volume to be made.
type NewVolume = volumes.New

// AnonymousLabel marks a volume that nobody named.
const AnonymousLabel = volumes.AnonymousLabel

// patienceVolume is how long a command waits for another that has a volume's name, and for a driver.
const patienceVolume = 5 * time.Minute

func patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patienceVolume)
}

// CreateVolume makes a volume, or returns the one there is. Without a name it is anonymous.
func (e *Engine) CreateVolume(n NewVolume) (volumes.Volume, error) {
	n = named(n)
	v, made, err := e.makeVolume(n)
	if err == nil && made {
		err = e.indexVolumes(v.Name)
	}
	return v, blame("volume "+n.Name, err)
}

// named gives a volume that nobody names an anonymous one's name and mark.
func named(n NewVolume) NewVolume {
	if n.Name == "" {
		n.Name = volumes.Anonymous()
		if n.Labels == nil {
			n.Labels = make(map[string]string)
		}
		n.Labels[AnonymousLabel] = ""
	}
	return n
}

// makeVolume makes a volume; the caller puts it into the catalogue.
func (e *Engine) makeVolume(n NewVolume) (volumes.Volume, bool, error) {
	ctx, cancel := patiently()
	defer cancel()
	v, made, err := e.volumes().Create(ctx, n)
	if made {
		e.note(TypeVolume, "create", v.Name, map[string]string{"driver": v.Driver})
	}
	return v, made, err
}

// RemoveVolume deletes a volume that no mount, running or stopped, refers to.
// force: one that is missing is fine, and one that its driver can't remove is
// forgotten. The name is locked meanwhile, which a mount waits for before it
// attaches; its record, which users looks at, is older.
func (e *Engine) RemoveVolume(name string, force bool) error {
	if _, err := e.volumes().Get(name); err != nil {
		if force && errors.Is(err, volumes.ErrNotFound) {
			return nil
		}
		if errors.Is(err, volumes.ErrNotFound) {
			return blame("volume "+name, err)
		}
	}
	ctx, cancel := patiently()
	defer cancel()
	l, err := e.volumes().Lock(ctx, name)
	if err != nil {
		return blame("volume "+name, err)
	}
	e.dropList()
	sweep, err := e.removeLocked(ctx, l, force, "")
	err = errors.Join(err, l.Unlock())
	if err == nil { // nobody sees the data any more: no lock is needed
		err = errors.Join(e.indexVolumes(name), sweep())
	}
	return blame("volume "+name, err)
}

// SweepVolumes ends what killed commands began, in passing: what fails is said by prune.
func (e *Engine) SweepVolumes() {
	ctx, cancel := patiently()
	defer cancel()
	_ = e.volumes().Clean(ctx)
}

// removeAnonymous removes the anonymous volumes of a mount that ends, but for
// those that another mount refers to.
func (e *Engine) removeAnonymous(r *Record) error {
	ctx, cancel := patiently()
	defer cancel()
	var errs []error
	for _, name := range anonymous(r) {
		l, err := e.volumes().Lock(ctx, name)
		if err != nil {
			return err
		}
		sweep, err := e.removeLocked(ctx, l, false, r.Name)
		err = errors.Join(err, l.Unlock())
		if err == nil {
			err = sweep()
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, volumes.ErrNotFound) && !errors.Is(err, volumes.ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// anonymous names the volumes that were made for a mount.
func anonymous(r *Record) (names []string) {
	for _, v := range r.Volumes {
		if v.Anonymous {
			names = append(names, v.Name)
		}
	}
	return names
}

// removeLocked makes a volume that nobody but one mount refers to vanish; sweep deletes its data.
func (e *Engine) removeLocked(ctx context.Context, l *volumes.Locked, force bool, but string) (sweep func() error, err error) {
	users, err := e.users(l.Name)
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(users, func(u string) bool { return u == but })
	if len(users) > 0 {
		return nil, fail(ErrConflict, "volume "+l.Name, "remove %s: volume is in use - [%s]", l.Name, strings.Join(users, ", "))
	}
	v, err := l.Volume()
	if err != nil {
		return nil, err
	}
	if sweep, err = l.Remove(ctx, force); err != nil {
		return nil, err
	}
	e.note(TypeVolume, "destroy", v.Name, map[string]string{"driver": v.Driver})
	return sweep, nil
}

// users names the mounts that refer to a volume: recorded ones, and those of
// mount(8)'s form that live.
func (e *Engine) users(volume string) (users []string, err error) {
	all, err := e.references()
	for _, u := range all[volume] {
		users = append(users, u.Mount)
	}
	slices.Sort(users)
	return slices.Compact(users), err
}

// references tells of each volume where mounts, running, dead or stopped, have it, and clients of a server.
// A record that can't be read is an error: it may refer to any volume.
func (e *Engine) references() (map[string][]volumes.Use, error) {
	all := make(map[string][]volumes.Use)
	add := func(r *Record, pid int, since time.Time) {
		for _, v := range r.Volumes {
			if v.Name != "" {
				all[v.Name] = append(all[v.Name], volumes.Use{Mount: r.Name, Pid: pid, Since: since, Path: v.Target, ReadOnly: v.ReadOnly})
			}
		}
	}
	live, err := e.live()
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, name := range live {
		kind, s, err := e.state(name)
		if err != nil {
			return nil, err
		}
		if kind == Running && s != nil {
			add(&s.Record, s.Pid, s.StartedAt)
			seen[name] = true
		}
	}
	dirs, err := os.ReadDir(filepath.Join(e.Root, "mounts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		if seen[d.Name()] {
			continue
		}
		r, err := e.load(d.Name())
		if errors.Is(err, ErrNotFound) {
			continue // a mount being removed, or none
		}
		if err != nil {
			return nil, err
		}
		add(r, 0, time.Time{})
	}
	had, err := e.holdings()
	for _, h := range had {
		all[h.Volume] = append(all[h.Volume], volumes.Use{Mount: h.name()})
	}
	return all, err
}

// dropNew removes the volumes that a mount made which then failed, unless another
// mount has begun to use one, or something is in it that wasn't filled in by the
// failed mount itself.
func (e *Engine) dropNew(mount string, names []string) error {
	var errs []error
	for _, name := range names {
		v, err := e.volumes().Get(name)
		if err != nil {
			continue
		}
		last, err := e.volumes().LastUsed(name)
		ours := err == nil && len(last) > 0 && !slices.ContainsFunc(last, func(u volumes.Use) bool { return u.Mount != mount })
		if v.Mountpoint == "" || v.Driver != driver.Local && !ours {
			continue // a plugin may have had it before: it is left as it is
		}
		if data, err := os.ReadDir(v.Mountpoint); !ours && (err != nil || len(data) > 0) {
			continue
		}
		if err := e.RemoveVolume(name, true); !errors.Is(err, ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
