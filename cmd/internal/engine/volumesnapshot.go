package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/tree"
)

// Snapshot is what volume snapshot ls prints.
type Snapshot struct {
	Volume      string
	Name        string
	CreatedAt   string
	Driver      string
	Method      string
	PointInTime bool
}

// ID is what commands call it by.
func (s *Snapshot) ID() string { return s.Volume + "@" + s.Name }

// Columns are what ls prints of a snapshot.
func (s *Snapshot) Columns() []string {
	at := s.CreatedAt
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Local().Format(time.DateTime)
	}
	return []string{s.Volume, s.Name, at, s.Method, yesNo(s.PointInTime)}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// CopyVolume tells how a volume is copied.
type CopyVolume struct {
	Live bool                       // while it is in use, too
	Tell func(objects, bytes int64) // of what was done; may be nil
}

func (c CopyVolume) how() volumes.How {
	h := volumes.How{Live: c.Live}
	if c.Tell != nil {
		h.Tell = func(r tree.Result) { c.Tell(r.Objects, r.Shared+r.Copied) }
	}
	return h
}

// costOf says how a volume was copied, what that cost, and what it isn't.
func costOf(c volumes.Copied) string {
	var b strings.Builder
	b.WriteString(c.Method)
	switch {
	case c.Cost != "":
		fmt.Fprintf(&b, ": %s", c.Cost)
	case c.Shared > 0:
		fmt.Fprintf(&b, ": %s shared, %s copied", HumanSize(c.Shared), HumanSize(c.Copied))
	default:
		fmt.Fprintf(&b, ": %s copied", HumanSize(c.Copied))
	}
	fmt.Fprintf(&b, "; %s", c.Took.Round(time.Millisecond))
	if !c.PointInTime {
		b.WriteString("; no point in time: the volume was in use meanwhile")
	}
	if lost := c.Lost.String(); lost != "" {
		fmt.Fprintf(&b, "; not kept: %s", lost)
	}
	return b.String()
}

// Snapshot keeps what a volume holds under a name, and says how and at what cost.
func (e *Engine) Snapshot(ctx context.Context, volume, name string, c CopyVolume) (cost string, err error) {
	made, err := e.volumes().Snapshot(ctx, volume, name, c.how())
	if err != nil {
		return "", blame("volume "+volume, err)
	}
	e.note(TypeVolume, "snapshot", volume, map[string]string{"snapshot": name, "method": made.Method, "pointInTime": strconv.FormatBool(made.PointInTime)})
	return costOf(made), nil
}

// Snapshots lists the snapshots of one volume, or of all, the oldest of each first.
// What can't be read is in the error and not in the list.
func (e *Engine) Snapshots(volume string) (list []*Snapshot, err error) {
	names := []string{volume}
	if volume == "" {
		if names, err = e.volumes().Names(); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, name := range names {
		all, err := e.volumes().Snapshots(name)
		if err != nil && (volume != "" || !errors.Is(err, volumes.ErrNotFound)) {
			errs = append(errs, blame("volume "+name, err))
		}
		for _, s := range all {
			list = append(list, &Snapshot{s.Volume, s.Name, s.CreatedAt, s.Driver, s.Method, s.PointInTime})
		}
	}
	return list, errors.Join(errs...)
}

// parseSnapshot reads VOLUME@SNAP.
func parseSnapshot(id string) (volume, name string, err error) {
	volume, name, err = volumes.ParseSnapshot(id)
	if err == nil && name == "" {
		err = fail(ErrUsage, "snapshot "+id, "want VOLUME@SNAP")
	}
	return volume, name, blame("snapshot "+id, err)
}

// RemoveSnapshot deletes VOLUME@SNAP.
func (e *Engine) RemoveSnapshot(id string) error {
	volume, name, err := parseSnapshot(id)
	if err != nil {
		return err
	}
	ctx, cancel := patiently()
	defer cancel()
	if err := e.volumes().RemoveSnapshot(ctx, volume, name); err != nil {
		return blame("snapshot "+id, err)
	}
	e.note(TypeVolume, "snapshot-destroy", volume, map[string]string{"snapshot": name})
	return nil
}

// RestoreVolume makes a volume hold what VOLUME@SNAP holds, and says how and at what cost.
func (e *Engine) RestoreVolume(ctx context.Context, id string, c CopyVolume) (cost string, err error) {
	volume, name, err := parseSnapshot(id)
	if err != nil {
		return "", err
	}
	made, err := e.volumes().Restore(ctx, volume, name, c.how())
	if err != nil {
		return "", blame("volume "+volume, err)
	}
	e.note(TypeVolume, "restore", volume, map[string]string{"snapshot": name, "method": made.Method})
	return costOf(made), nil
}

// CreateVolumeFrom makes a volume that begins with what another, or a snapshot
// (VOLUME@SNAP), holds. One of that name is a conflict: it holds something else.
func (e *Engine) CreateVolumeFrom(ctx context.Context, n NewVolume, source string, c CopyVolume) (v volumes.Volume, cost string, err error) {
	n, err = e.volumes().From(named(n), source, c.how(), func(c volumes.Copied) { cost = costOf(c) })
	if err != nil {
		return v, "", blame("volume "+source, err)
	}
	v, made, err := e.volumes().Create(ctx, n)
	if err == nil && !made {
		err = fail(ErrConflict, "volume "+n.Name, "create %s: there is one already: remove it first, or take another name", n.Name)
	}
	if err == nil {
		e.note(TypeVolume, "create", v.Name, map[string]string{"driver": v.Driver, "from": source})
		err = e.indexVolumes(v.Name)
	}
	return v, cost, blame("volume "+n.Name, err)
}
