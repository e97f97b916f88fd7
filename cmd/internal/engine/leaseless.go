package engine

import (
	"slices"

	"github.com/unionmount/unionmount/volumes"
)

// leaseless names who may be writing to a volume though the lease died with its
// holder: containers outlive a server that was killed, and what was started on a bind
// mount goes on when the mount's daemon was. It ends with the unmount.
func (e *Engine) leaseless(volume string) (all []volumes.Holder, err error) {
	had, err := e.holdings()
	if err != nil {
		return nil, err
	}
	for _, h := range had {
		if h.Volume == volume {
			all = append(all, volumes.Holder{Mount: h.name(), Why: "a client of volume serve"})
		}
	}
	names, err := e.live()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		_, s, err := e.state(name) // running too: it may just be cleared up
		if err != nil {
			return nil, err
		}
		if s != nil && slices.ContainsFunc(s.Record.Volumes, func(v VolumeRef) bool { return v.Name == volume }) && s.mounted() {
			all = append(all, volumes.Holder{Mount: name, Why: "its daemon has ended, but it is mounted"})
		}
	}
	return all, nil
}
