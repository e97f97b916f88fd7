package cow

import "sync"

// later destroys directories that lie in work already, invisible, while their removal goes on: each whiteout in one
// is a call of its own. What is left of them when a daemon dies is swept at the next mount.
type later struct {
	mu    sync.Mutex
	names []string  // in work; guarded by mu
	busy  bool      // somebody destroys them; guarded by mu
	rests sync.Cond // busy has ended
}

// destroyLater destroys what was moved to work under that name.
func (w *Writer) destroyLater(name string) {
	l := &w.later
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
	if !l.busy {
		l.busy, l.rests.L = true, &l.mu
		go w.destroyQueued()
	}
}

func (w *Writer) destroyQueued() {
	l := &w.later
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.names) > 0 {
		names := l.names
		l.names = nil
		l.mu.Unlock()
		for _, name := range names {
			_ = w.destroy(w.work, name)
		}
		l.mu.Lock()
	}
	l.busy = false
	l.rests.Broadcast()
}

// Settle waits until all is destroyed that was removed before. A removed directory that somebody has open changes until then.
func (w *Writer) Settle() {
	l := &w.later
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy {
		l.rests.Wait()
	}
}
