package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/catalog"
	"github.com/unionmount/unionmount/volumes/driver"
)

// VolumeLine is a volume as ls prints it: Docker's keys and types.
type VolumeLine struct {
	Availability string // of swarm's volumes only
	Driver       string
	Group        string // the same
	Labels       string // K=V,...
	Links        string // how many mounts refer to it
	Mountpoint   string
	Name         string
	Scope        string
	Size         string
	Status       string // of swarm's

	labels map[string]string
}

// Label is one label's value, for templates.
func (v *VolumeLine) Label(name string) string { return v.labels[name] }

// VolumeQuery chooses what ls lists; the filters are Docker's.
type VolumeQuery struct {
	Filters []string                           // KEY=VALUE, or KEY!=VALUE for labels; several of one key are alternatives, but of label all must hold
	Size    bool                               // measure each
	Brief   bool                               // nobody looks at more than names and drivers
	Tell    func(done, all int, volume string) // of the measuring; may be nil
}

const notSaid = "N/A"

// Volumes lists volumes by name. One that can't be read is in the error and not in the list.
func (e *Engine) Volumes(q VolumeQuery) (lines []*VolumeLine, err error) {
	choose, err := parseVolumeFilters(q.Filters)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	e.sweepDead(ctx)
	all, broken, err := e.allVolumes(q.Brief && len(choose.labels)+len(choose.absent) == 0)
	if err != nil {
		return nil, err
	}
	users := map[string][]volumes.Use{}
	if q.Size || choose.dangling != nil {
		if users, err = e.references(); err != nil {
			return nil, err
		}
	}
	all = slices.DeleteFunc(all, func(v volumes.Volume) bool { return !choose.keeps(&v, len(users[v.Name]) > 0) })
	lines = make([]*VolumeLine, 0, len(all))
	space := make([]VolumeLine, len(all)) // in one piece: there may be very many
	for i := range all {
		v, line := &all[i], &space[i]
		*line = VolumeLine{Availability: notSaid, Driver: v.Driver, Group: notSaid, Labels: joinLabels(v.Labels), Links: notSaid,
			Mountpoint: v.Mountpoint, Name: v.Name, Scope: v.Scope, Size: notSaid, Status: notSaid, labels: v.Labels}
		if q.Size {
			if q.Tell != nil {
				q.Tell(i, len(all), v.Name)
			}
			broken = errors.Join(broken, e.measure(line, v, users[v.Name]))
		}
		lines = append(lines, line)
	}
	return lines, broken
}

// allVolumes reads the list, briefly if that is enough, or the catalogue; without a root there is nothing, and nothing is made.
func (e *Engine) allVolumes(brief bool) (all []volumes.Volume, broken, err error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if all, broken, ok := e.readList(brief); ok {
		return all, broken, nil
	}
	err = catalog.Update(e.Root, e.rebuild, func(tx catalog.Tx) (err error) {
		all, broken, err = e.listVolumes(tx)
		return err
	})
	if errors.Is(err, catalog.ErrRefused) { // a full disk, a read-only root: the directories tell
		all, broken = e.volumes().List()
		err = nil
	}
	return all, broken, err
}

func (e *Engine) measure(line *VolumeLine, v *volumes.Volume, users []volumes.Use) error {
	mounts := make(map[string]bool) // one may have it at several paths
	for _, u := range users {
		mounts[u.Mount] = true
	}
	line.Links = fmt.Sprint(len(mounts))
	if !driver.BuiltIn(v.Driver) {
		return nil // a plugin isn't asked: it may hang
	}
	size, err := e.volumes().Size(v.Name)
	if err != nil {
		return blame("volume "+v.Name, err)
	}
	line.Size = HumanSize(size)
	return nil
}

// HumanSize is a number of bytes as Docker prints it: 36B, 1.2kB.
func HumanSize(n int64) string { return units.HumanSize(float64(n)) }

func joinLabels(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	pairs := make([]string, 0, len(labels))
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// sweepDead gives back what killed daemons had of volumes whose driver is built
// in. It is done in passing: what fails shows when the volume is used.
func (e *Engine) sweepDead(ctx context.Context) {
	names, err := e.live()
	if err != nil {
		return
	}
	for _, name := range names {
		kind, s, err := e.state(name)
		if err != nil || kind != Dead || s == nil {
			continue
		}
		r := s.Record
		r.Volumes = slices.DeleteFunc(slices.Clone(r.Volumes), func(v VolumeRef) bool {
			return v.Tmpfs != nil || !driver.BuiltIn(v.Driver)
		})
		_ = e.sweepVolumes(ctx, &r)
	}
}

// VolumeInspect is what volume inspect prints: Docker's keys in Docker's types, then ours.
type VolumeInspect struct {
	CreatedAt  string
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
	Status     map[string]any `json:",omitempty"`
	UsedBy     []VolumeUse
	LastUsed   []VolumeUse
}

// VolumeUse is where a mount has, or had, a volume.
type VolumeUse struct {
	Mount    string
	Pid      int    // 0: the mount isn't running
	Since    string // RFC 3339; "" if it never was attached
	Path     string
	ReadOnly bool
}

// patienceInspect is how long inspect waits for a driver's own words.
const patienceInspect = 10 * time.Second

// Volume describes one volume. What its driver says is left out if it doesn't answer.
func (e *Engine) Volume(name string) (*VolumeInspect, error) {
	what := "volume " + name
	v, err := e.volumes().Get(name)
	if err != nil {
		return nil, blame(what, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceInspect)
	defer cancel()
	e.sweepDead(ctx)
	i := &VolumeInspect{CreatedAt: v.CreatedAt, Driver: v.Driver, Labels: v.Labels, Mountpoint: v.Mountpoint, Name: v.Name,
		Options: driver.Hide(v.Options), Scope: v.Scope, UsedBy: []VolumeUse{}, LastUsed: []VolumeUse{}}
	if said, err := e.volumes().Inspect(ctx, name); err == nil {
		i.Mountpoint, i.Scope, i.Status = cmp.Or(said.Mountpoint, v.Mountpoint), cmp.Or(said.Scope, v.Scope), said.Status
	} else {
		i.Status = map[string]any{"Error": err.Error()}
	}
	last, err := e.volumes().LastUsed(name)
	if err != nil {
		return nil, blame(what, err)
	}
	for _, u := range last {
		i.LastUsed = append(i.LastUsed, shownUse(u))
	}
	i.UsedBy, err = e.usedBy(name, last)
	return i, blame(what, err)
}

// usedBy tells where the volume is: attached now by its leases, else by the records of mounts.
func (e *Engine) usedBy(name string, last []volumes.Use) (shown []VolumeUse, err error) {
	shown = []VolumeUse{}
	uses, err := e.volumes().Uses(name)
	if err != nil {
		return nil, err
	}
	referred, err := e.references()
	if err != nil {
		return nil, err
	}
	same := func(a volumes.Use) func(volumes.Use) bool {
		return func(b volumes.Use) bool { return a.Mount == b.Mount && (a.Path == b.Path || b.Path == "") }
	}
	for _, u := range referred[name] {
		if slices.ContainsFunc(uses, same(u)) {
			continue
		}
		u.Pid, u.Since = 0, time.Time{}
		if i := slices.IndexFunc(last, same(u)); i >= 0 {
			u.Since = last[i].Since
		}
		uses = append(uses, u)
	}
	slices.SortFunc(uses, func(a, b volumes.Use) int { return cmp.Or(cmp.Compare(a.Mount, b.Mount), cmp.Compare(a.Path, b.Path)) })
	for _, u := range uses {
		shown = append(shown, shownUse(u))
	}
	return shown, nil
}

func shownUse(u volumes.Use) VolumeUse {
	s := VolumeUse{Mount: u.Mount, Pid: u.Pid, Path: u.Path, ReadOnly: u.ReadOnly}
	if !u.Since.IsZero() {
		s.Since = u.Since.Format(time.RFC3339Nano)
	}
	return s
}
