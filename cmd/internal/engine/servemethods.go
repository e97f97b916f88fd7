package engine

import (
	"context"
	"errors"
	"maps"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/plugin"
)

func (s *volumeServer) methods() map[string]plugin.Method {
	return map[string]plugin.Method{
		plugin.Create: s.create, plugin.Remove: s.remove, plugin.Mount: s.mount, plugin.Unmount: s.unmount,
		plugin.Get: s.get, plugin.Path: s.path, plugin.List: s.list,
		plugin.Capabilities: func(context.Context, plugin.Request) (plugin.Answer, error) {
			return plugin.Answer{Capabilities: &plugin.Capability{Scope: "local"}}, nil
		},
	}
}

// create makes a volume; the option from=VOLUME or from=VOLUME@SNAP says what it begins with.
func (s *volumeServer) create(_ context.Context, q plugin.Request) (plugin.Answer, error) {
	if q.Name == "" {
		return plugin.Answer{}, volumes.CheckName(q.Name)
	}
	n := NewVolume{Name: q.Name, Options: maps.Clone(q.Opts)}
	from := n.Options["from"]
	if from == "" {
		_, err := s.engine.CreateVolume(n)
		return plugin.Answer{}, err
	}
	delete(n.Options, "from")
	_, _, err := s.engine.CreateVolumeFrom(context.Background(), n, from, CopyVolume{}) // not ended by a client that goes away: it may ask again
	return plugin.Answer{}, err
}

func (s *volumeServer) remove(_ context.Context, q plugin.Request) (plugin.Answer, error) {
	return plugin.Answer{}, s.engine.RemoveVolume(q.Name, false)
}

// mount attaches a volume for a holder; once more is the same. A client that goes
// away meanwhile has the volume all the same: it may ask again, or give it back.
func (s *volumeServer) mount(_ context.Context, q plugin.Request) (plugin.Answer, error) {
	if err := volumes.CheckName(q.Name); err != nil {
		return plugin.Answer{}, err
	}
	defer s.turn(q.Name)()
	h := holding{q.Name, q.ID}
	now := s.has(h)
	if now != nil && now.lease == nil {
		return s.mountAgain(h)
	}
	if now != nil {
		return plugin.Answer{Mountpoint: now.path}, nil
	}
	// Noted first: if we are killed in between, more is given back than was taken, never less.
	err := s.set(h, new(held))
	if err == nil {
		now, err = s.take(h, s.attach)
	}
	if err == nil {
		err = s.set(h, now)
	}
	if err == nil {
		return plugin.Answer{Mountpoint: now.path}, nil
	}
	if now != nil {
		err = errors.Join(err, s.giveBack(h, now))
	}
	return plugin.Answer{}, errors.Join(err, s.set(h, nil))
}

// mountAgain takes the lease that takeAgain couldn't have. The volume stays the holder's
// if that fails again.
func (s *volumeServer) mountAgain(h holding) (plugin.Answer, error) {
	now, err := s.take(h, s.engine.volumes().Resume)
	if err == nil {
		err = s.set(h, now)
	}
	if err != nil {
		return plugin.Answer{}, err
	}
	return plugin.Answer{Mountpoint: now.path}, nil
}

// unmount gives back what a holder has; what it hasn't is given back already.
func (s *volumeServer) unmount(_ context.Context, q plugin.Request) (plugin.Answer, error) {
	defer s.turn(q.Name)()
	h := holding{q.Name, q.ID}
	had := s.has(h)
	if had == nil {
		return plugin.Answer{}, nil
	}
	err := errors.Join(s.giveBack(h, had), s.set(h, nil))
	s.engine.note(TypeVolume, "detach", h.Volume, map[string]string{"mount": h.name()})
	return plugin.Answer{}, blame("volume "+h.Volume, err)
}

func (s *volumeServer) get(ctx context.Context, q plugin.Request) (plugin.Answer, error) {
	v, err := s.engine.volumes().Get(q.Name)
	if err != nil {
		return plugin.Answer{}, blame("volume "+q.Name, err)
	}
	shown := plugin.Volume{Name: v.Name, CreatedAt: v.CreatedAt, Mountpoint: v.Mountpoint}
	if said, err := s.engine.volumes().Inspect(ctx, v.Name); err == nil {
		shown.Mountpoint, shown.Status = said.Mountpoint, said.Status
	}
	return plugin.Answer{Volume: &shown}, nil
}

func (s *volumeServer) path(ctx context.Context, q plugin.Request) (plugin.Answer, error) {
	a, err := s.get(ctx, q)
	if err != nil {
		return a, err
	}
	return plugin.Answer{Mountpoint: a.Volume.Mountpoint}, nil
}

func (s *volumeServer) list(context.Context, plugin.Request) (a plugin.Answer, err error) {
	all, broken := s.engine.volumes().List()
	if broken != nil {
		s.log.Warn("left out of the list", "err", broken)
	}
	a.Volumes = []plugin.Volume{}
	for _, v := range all {
		a.Volumes = append(a.Volumes, plugin.Volume{Name: v.Name, CreatedAt: v.CreatedAt, Mountpoint: v.Mountpoint})
	}
	return a, nil
}
