package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/unionmount/unionmount/volumes/plugin"
)

// remote is a volume of a Docker volume plugin, which keeps the data where it
// likes and counts its holders itself.
type remote struct {
	Volume
	client *plugin.Client
}

func openPlugin(v Volume) (Driver, error) {
	e, err := plugin.DockerFolders().Find(v.Driver)
	if errors.Is(err, plugin.ErrNotFound) {
		return nil, fail(ErrNotFound, "error looking up volume plugin %s: %w", v.Driver, err)
	}
	if err != nil {
		return nil, fail(ErrUnsupported, "error looking up volume plugin %s: %w", v.Driver, err)
	}
	return remote{v, plugin.NewClient(v.Driver, e)}, nil
}

// Create is ErrExists for a volume that the plugin has already: Docker adopts it.
func (r remote) Create(ctx context.Context) error {
	if a, err := r.client.Call(ctx, plugin.Get, plugin.Request{Name: r.Name}); err == nil && a.Volume != nil {
		return fail(ErrExists, "plugin %q has a volume %q already", r.Driver, r.Name)
	}
	_, err := r.client.Call(ctx, plugin.Create, plugin.Request{Name: r.Name, Opts: r.Options})
	return r.hide(err)
}

// Remove is done if the plugin removed it, or has no such volume.
func (r remote) Remove(ctx context.Context) error {
	_, err := r.client.Call(ctx, plugin.Remove, plugin.Request{Name: r.Name})
	var refused *plugin.Refusal
	if !errors.As(err, &refused) {
		return err
	}
	a, listErr := r.client.Call(ctx, plugin.List, plugin.Request{})
	if listErr != nil {
		return err
	}
	for _, v := range a.Volumes {
		if v.Name == r.Name {
			return err
		}
	}
	return nil
}

func (r remote) Mount(ctx context.Context, id string) (string, error) {
	a, err := r.client.Call(ctx, plugin.Mount, plugin.Request{Name: r.Name, ID: id})
	if err != nil {
		return "", r.hide(err)
	}
	err = r.usable(ctx, a.Mountpoint)
	if err != nil {
		_, undo := r.client.Call(ctx, plugin.Unmount, plugin.Request{Name: r.Name, ID: id})
		return "", errors.Join(err, undo)
	}
	return a.Mountpoint, nil
}

// usable refuses a path that can't be the data of a volume here.
func (r remote) usable(ctx context.Context, path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return fmt.Errorf("plugin %q: %s: bad mountpoint %q", r.Driver, plugin.Mount, path)
	}
	return within(ctx, func(context.Context) error {
		st, err := os.Stat(path)
		if err == nil && !st.IsDir() {
			err = errors.New("no directory")
		}
		if err != nil {
			return fmt.Errorf("plugin %q: %s: %w: it must be mounted in our mount namespace", r.Driver, plugin.Mount, err)
		}
		return nil
	})
}

func (r remote) Unmount(ctx context.Context, id string, _ bool) error {
	_, err := r.client.Call(ctx, plugin.Unmount, plugin.Request{Name: r.Name, ID: id})
	var refused *plugin.Refusal
	if errors.As(err, &refused) {
		return fail(ErrRefused, "%w", err)
	}
	return err
}

func (r remote) Inspect(ctx context.Context) (State, error) {
	s := State{Scope: "local"}
	a, err := r.client.Call(ctx, plugin.Get, plugin.Request{Name: r.Name})
	if err != nil {
		return s, err
	}
	if a.Volume == nil {
		return s, fmt.Errorf("plugin %q: %s: the answer has no volume", r.Driver, plugin.Get)
	}
	s.Mountpoint, s.Status = a.Volume.Mountpoint, a.Volume.Status
	// The method is younger than the protocol: without it the scope is local.
	var refused *plugin.Refusal
	switch c, err := r.client.Call(ctx, plugin.Capabilities, plugin.Request{}); {
	case errors.As(err, &refused):
	case err != nil:
		return s, err
	case c.Capabilities != nil && c.Capabilities.Scope == "global":
		s.Scope = "global"
	}
	return s, nil
}

// hide takes passwords of the options out of what the plugin says.
func (r remote) hide(err error) error {
	if err == nil {
		return nil
	}
	w := splitWords(r.Options["o"])
	for k, v := range r.Options {
		w = append(w, k+"="+v)
	}
	if text := hideIn(err.Error(), w); text != err.Error() {
		return errors.New(text)
	}
	return err
}
