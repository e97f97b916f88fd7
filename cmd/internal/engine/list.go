package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
)

// Info is what inspect prints of a mount; the keys are pinned.
type Info struct {
	Name       string
	State      string
	Pid        int
	StartedAt  string
	Mountpoint string
	Layers     []string
	Upper      string
	Work       string
	ReadOnly   bool
	IO         string
	Volumes    []VolumeInfo
}

// VolumeInfo is a volume as inspect prints it.
type VolumeInfo struct {
	Name        string
	Driver      string
	Source      string
	Destination string
	RW          bool
	IO          string
}

// List describes the mounts, by name; all: stopped ones too. One that can't be
// read is in the error and not in the list.
func (e *Engine) List(all bool) (list []*Info, err error) {
	records, err := e.records()
	if err != nil {
		return nil, err
	}
	live, err := e.live()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		live = append(live, r.Name)
	}
	slices.Sort(live)
	var errs []error
	for _, name := range slices.Compact(live) {
		info, err := e.describe(name)
		switch {
		case errors.Is(err, ErrNotFound): // removed since
		case err != nil:
			errs = append(errs, err)
		case all || info.State != Stopped:
			list = append(list, info)
		}
	}
	return list, errors.Join(errs...)
}

// Inspect describes one mount, by name or mountpoint.
func (e *Engine) Inspect(what string) (*Info, error) {
	name, err := e.find(what)
	if err != nil {
		return nil, err
	}
	return e.describe(name)
}

func (e *Engine) describe(name string) (*Info, error) {
	kind, s, err := e.state(name)
	if err != nil {
		return nil, err
	}
	if kind == Dead {
		if gone, err := e.forgotten(name, s); err != nil || gone {
			return nil, cmp.Or(err, noMount(name))
		}
	}
	if s != nil {
		return describe(&s.Record, s, kind), nil
	}
	r, err := e.load(name)
	if err != nil {
		return nil, err
	}
	return describe(r, nil, kind), nil
}

func describe(r *Record, s *State, kind string) *Info {
	info := &Info{Name: r.Name, State: kind, Mountpoint: r.Mountpoint, Layers: r.Layers, Upper: r.Upper, Work: r.Work,
		ReadOnly: r.Upper == "", IO: cmp.Or(r.IO, Auto), Volumes: []VolumeInfo{}}
	if s != nil {
		info.IO = s.IO
		info.StartedAt = s.StartedAt.Format(time.RFC3339Nano)
		if kind == Running {
			info.Pid = s.Pid
		}
	}
	for i, v := range r.Volumes {
		io := cmp.Or(r.VolumeIO, Auto)
		if s != nil {
			io = s.VolumeIO[i]
		}
		info.Volumes = append(info.Volumes, VolumeInfo{v.Name, v.Driver, v.Source, v.Target, !v.ReadOnly, io})
	}
	return info
}

// Columns are what ls prints of a mount.
func (i *Info) Columns() []string {
	pid := "-"
	if i.Pid > 0 {
		pid = fmt.Sprint(i.Pid)
	}
	vols := make([]string, 0, len(i.Volumes))
	for _, v := range i.Volumes {
		vols = append(vols, cmp.Or(v.Name, v.Source)+":"+v.Destination)
	}
	return []string{i.Name, i.State, pid, i.Mountpoint, fmt.Sprint(len(i.Layers)), strings.Join(vols, ",")}
}

// Diff calls visit for every change in a mount's upper, as docker diff prints them.
func (e *Engine) Diff(what string, visit func(kind byte, path string) error) error {
	info, err := e.Inspect(what)
	if err != nil || info.Upper == "" {
		return err
	}
	if info.State == Running && info.IO == string(unionfs.IOCached) { // there the kernel may hold back what was written
		if err := sys.SyncFSOf(info.Mountpoint); err != nil {
			return blame("diff "+what, fmt.Errorf("sync %s: %w", info.Mountpoint, err))
		}
	}
	return blame("diff "+what, unionfs.Diff(info.Upper, info.Layers, func(kind unionfs.ChangeKind, path string) error {
		return visit(byte(kind), path)
	}))
}
