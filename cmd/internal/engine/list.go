package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/volumes"
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

// List describes the mounts, by name; all: stopped ones too.
func (e *Engine) List(all bool) ([]Info, error) {
	names, err := e.names()
	if err != nil {
		return nil, err
	}
	live, err := e.live()
	if err != nil {
		return nil, err
	}
	names = append(names, live...)
	slices.Sort(names)
	var out []Info
	for _, name := range slices.Compact(names) {
		info, err := e.Inspect(name)
		if err != nil {
			continue // removed since
		}
		if all || info.State != Stopped {
			out = append(out, *info)
		}
	}
	return out, nil
}

// Inspect describes one mount.
func (e *Engine) Inspect(name string) (*Info, error) {
	kind, s, err := e.state(name)
	if err != nil {
		return nil, err
	}
	r, err := e.load(name)
	if err != nil && s != nil && s.Record.Helper {
		r, err = &s.Record, nil
	}
	if err != nil {
		return nil, err
	}
	if s != nil {
		r = &s.Record
	}
	return describe(r, s, kind), nil
}

func describe(r *Record, s *State, kind string) *Info {
	info := &Info{Name: r.Name, State: kind, Mountpoint: r.Mountpoint, Layers: r.Layers, Upper: r.Upper, Work: r.Work,
		ReadOnly: r.Upper == "", IO: r.IO, Volumes: []VolumeInfo{}}
	if info.IO == "" {
		info.IO = Auto
	}
	if s != nil {
		info.IO = s.IO
		info.StartedAt = s.StartedAt.Format(time.RFC3339Nano)
		if kind == Running {
			info.Pid = s.Pid
		}
	}
	for i, v := range r.Volumes {
		io := r.VolumeIO
		if s != nil {
			io = s.VolumeIO[i]
		}
		info.Volumes = append(info.Volumes, VolumeInfo{v.Name, v.Driver, v.Source, v.Target, !v.ReadOnly, io})
	}
	return info
}

// Describe tells what a mount just made is like.
func Describe(s *State) *Info { return describe(&s.Record, s, Running) }

// Diff calls visit for every change in a mount's upper, as docker diff prints them.
func (e *Engine) Diff(name string, visit func(kind byte, path string) error) error {
	info, err := e.Inspect(name)
	if err != nil {
		return err
	}
	if info.Upper == "" {
		return nil
	}
	err = unionfs.Diff(info.Upper, info.Layers, func(kind unionfs.ChangeKind, path string) error {
		return visit(byte(kind), path)
	})
	if err != nil {
		return fail(nil, "diff "+name, "%w", err)
	}
	return nil
}

// Volumes is the store of named volumes.
func (e *Engine) Volumes() *volumes.Store { return volumes.At(e.Root) }

// CreateVolume makes a volume, or returns the one there is.
func (e *Engine) CreateVolume(name, driver string, labels, options map[string]string) (volumes.Volume, error) {
	v, _, err := e.Volumes().Create(name, driver, labels, options)
	return v, ofVolume(name, err)
}

// GetVolume describes one volume.
func (e *Engine) GetVolume(name string) (volumes.Volume, error) {
	v, err := e.Volumes().Get(name)
	return v, ofVolume(name, err)
}

func ofVolume(name string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{What: "volume " + name, Kind: kindOf(err), Why: err}
}

// RemoveVolume deletes a volume that no mount, running or stopped, refers to;
// force: one that is missing is fine.
func (e *Engine) RemoveVolume(name string, force bool) error {
	if _, err := e.GetVolume(name); err != nil {
		if force && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	all, err := e.List(true)
	if err != nil {
		return err
	}
	var users []string
	for _, m := range all {
		if slices.ContainsFunc(m.Volumes, func(v VolumeInfo) bool { return v.Name == name }) {
			users = append(users, m.Name)
		}
	}
	if len(users) > 0 {
		return fail(ErrConflict, "volume "+name, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	return ofVolume(name, e.Volumes().Remove(name))
}

// Column is one line of ls, as text.
func (i *Info) Column() []string {
	pid := "-"
	if i.Pid > 0 {
		pid = fmt.Sprint(i.Pid)
	}
	vols := make([]string, 0, len(i.Volumes))
	for _, v := range i.Volumes {
		name := v.Name
		if name == "" {
			name = v.Source
		}
		vols = append(vols, name+":"+v.Destination)
	}
	return []string{i.Name, i.State, pid, i.Mountpoint, fmt.Sprint(len(i.Layers)), strings.Join(vols, ",")}
}
