package engine

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
	"sync"
	"time"

	"github.com/unionmount/unionmount/volumes"
)

// holding is a volume in the hands of a client's holder.
type holding struct{ Volume, ID string }

type held struct {
	lease *volumes.Lease // nil while it is being attached, or if it couldn't be had again
	path  string         // of the data
}

// servedFile keeps the holdings; beside it the lock of the one who serves this root.
const (
	servedFile = "serve.json"
	servedLock = "serve.lock"
)

// served is the content of the file.
type served struct {
	Version int
	Boot    string // a restart of the machine ends every holding
	Held    []holding
}

// turn waits for the requests for the same volume.
func (s *volumeServer) turn(volume string) (end func()) {
	s.mu.Lock()
	t := s.turns[volume]
	if t == nil {
		t = new(sync.Mutex)
		s.turns[volume] = t
	}
	s.mu.Unlock()
	t.Lock()
	return t.Unlock
}

// set changes what a holder has, nil: nothing, and notes it.
func (s *volumeServer) set(h holding, now *held) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now == nil {
		delete(s.held, h)
	} else {
		s.held[h] = now
	}
	return s.note()
}

func (s *volumeServer) has(h holding) *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[h]
}

// take takes a lease for a holder.
func (s *volumeServer) take(h holding, attach func(context.Context, string, []volumes.Use) (*volumes.Lease, string, error)) (*held, error) {
	ctx, cancel := patiently()
	defer cancel()
	l, path, err := attach(ctx, h.Volume, []volumes.Use{{Mount: h.name(), Pid: os.Getpid(), Since: time.Now()}})
	if err != nil {
		return nil, blame("volume "+h.Volume, err)
	}
	s.engine.note(TypeVolume, "attach", h.Volume, map[string]string{"mount": h.name()})
	return &held{l, path}, nil
}

// giveBack ends the lease of a holder; one that couldn't be had again is a killed server's.
func (s *volumeServer) giveBack(h holding, had *held) error {
	ctx, cancel := patiently()
	defer cancel()
	if had.lease == nil { // the sweep leaves what a holder has that is noted
		return errors.Join(s.set(h, nil), s.engine.volumes().Sweep(ctx, h.Volume))
	}
	return had.lease.Release(ctx)
}

// attach leaves an empty volume empty: the client fills what it wants filled.
func (s *volumeServer) attach(ctx context.Context, volume string, uses []volumes.Use) (*volumes.Lease, string, error) {
	return s.engine.volumes().Attach(ctx, volume, uses, func(*volumes.Data) error { return nil })
}

// name is the holder's in UsedBy and in refusals; a client may call it anything.
func (h holding) name() string {
	if len(h.ID) <= 64 && validName(h.ID) {
		return "plugin." + h.ID
	}
	sum := sha256.Sum256([]byte(h.ID))
	return "plugin." + hex.EncodeToString(sum[:])
}

// note writes who holds what.
func (s *volumeServer) note() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	now := served{Version: version, Boot: boot, Held: []holding{}}
	for h := range s.held {
		now.Held = append(now.Held, h)
	}
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	return writeSynced(s.engine.servedPath(), append(text, '\n'), 0o600)
}

func (e *Engine) servedPath() string { return filepath.Join(e.Root, servedFile) }

// holdings reads what holders of this boot have, whether somebody serves them now or not:
// a container outlives a server that was killed.
func (e *Engine) holdings() ([]holding, error) {
	text, err := os.ReadFile(e.servedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var was served
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	boot, bootErr := bootID()
	if err := errors.Join(err, bootErr); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it, if no container has a volume of ours", e.servedPath(), err)
	}
	if was.Version > version {
		return nil, fail(ErrUnsupported, "serve", "%s is of version %d: use the unionmount that wrote it", e.servedPath(), was.Version)
	}
	if was.Boot != boot {
		return nil, nil
	}
	return was.Held, nil
}

// takeAgain takes the leases that an earlier server of this boot had. A volume
// that can't be had again stops nobody who wants another; it stays its holder's, who
// may be writing to it, and is tried again when he asks for it.
func (s *volumeServer) takeAgain() error {
	had, err := s.engine.holdings()
	if err != nil {
		return err
	}
	for _, h := range had {
		now, err := s.take(h, s.engine.volumes().Resume)
		if err != nil {
			s.log.Error("a volume that was in use can't be had again", "volume", h.Volume, "holder", h.ID, "err", err)
			now = new(held)
		}
		s.held[h] = now
	}
	return s.note()
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(text), err
}
