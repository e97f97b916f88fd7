package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// memoryLine is what --only and the tables call the measure of daemons' memory.
const memoryLine = "memory of the daemon"

// manyTree is enough files to tell what one costs from what the daemon holds anyway.
var manyTree = tree{name: "many", layers: 1, fill: fillMany, bare: true}

const (
	manyFiles = 1 << 18
	manyInDir = 128
)

func fillMany(dir string, _ int, scale float64) error {
	for i := range int(manyFiles * scale) {
		p := fmt.Sprintf("%s/dir%04d", dir, i/manyInDir)
		if i%manyInDir == 0 {
			if err := os.Mkdir(p, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/file%03d", p, i%manyInDir), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

const (
	settled   = 4 * time.Second // a daemon gives back what a wave of requests left behind within two
	forgotten = time.Minute     // how long it has to give memory back once the kernel forgot
)

// memory looks at the daemons' resident memory before, after a walk, and once the kernel forgot.
func (r *runner) memory(ctx context.Context) error {
	for _, p := range r.peers {
		if !p.hasMemory() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Log("memory of %s", p.name)
		err := r.memoryOf(ctx, p)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.failure(memoryLine, p.name, who(0), err)
		}
	}
	return nil
}

// hasMemory tells whether a peer's daemon is looked at: one of each contract.
func (p peer) hasMemory() bool { return p.ours && !p.volume && !p.user && !p.device }

func (r *runner) memoryOf(ctx context.Context, p peer) error {
	return r.onSite(scenario{tree: manyTree}, p, 0, func(s *site) error {
		m := Memory{Peer: p.name}
		look := func(into *int64, after time.Duration) (err error) {
			if err = pause(ctx, after); err == nil {
				*into, err = s.resident()
			}
			return err
		}
		walkThen := func(dir string, files, into *int64) (err error) {
			if *files, err = walk(&client{Dir: dir}); err != nil {
				return err
			}
			return look(into, settled)
		}
		if err := look(&m.Idle, settled); err != nil {
			return err
		}
		// The first requests need what all others share: buffers, threads, pages of the program.
		if err := walkThen(filepath.Join(s.view, "dir0000"), &m.BaseFiles, &m.Base); err != nil {
			return err
		}
		if err := walkThen(s.view, &m.Files, &m.Known); err != nil {
			return err
		}
		if err := dropCaches(); err != nil {
			return err
		}
		wait := forgotten
		if r.Quick {
			wait /= 6
		}
		if err := look(&m.Forgiven, wait); err != nil {
			return err
		}
		r.result.Memory = append(r.result.Memory, m)
		return nil
	})
}

// pause waits, but not longer than ctx lives.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// resident is the memory of the site's daemon.
func (s *site) resident() (int64, error) {
	pid, err := s.output("inspect", "--format", "{{.Pid}}", "bench")
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, err
	}
	var total, pages int64
	_, err = fmt.Sscan(string(text), &total, &pages)
	return pages * int64(os.Getpagesize()), err
}
