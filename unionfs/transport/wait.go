package transport

import "sync"

// waits are requests that wait for somebody else (SETLKW), and may be told to
// stop: by INTERRUPT, or by the end of the connection. Nothing else is
// interrupted: every other request ends by itself.
type waits struct {
	mu    sync.Mutex
	open  map[uint64]chan struct{} // by unique; guarded by mu
	over  bool                     // the connection has ended; guarded by mu
	early [64]uint64               // interrupted before they were known here; guarded by mu
	next  int                      // into early; guarded by mu
}

// begin returns what is closed when the request shall stop.
func (w *waits) begin(unique uint64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{})
	if w.over {
		close(c)
		return c
	}
	for i, u := range w.early {
		if u == unique {
			w.early[i] = 0
			close(c)
			return c
		}
	}
	if w.open == nil {
		w.open = make(map[uint64]chan struct{})
	}
	w.open[unique] = c
	return c
}

func (w *waits) done(unique uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, unique)
}

// interrupt stops a wait. Another thread may have read the request and not have
// come to begin yet: then begin will know.
func (w *waits) interrupt(unique uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.open[unique]; ok {
		delete(w.open, unique)
		close(c)
		return
	}
	w.early[w.next] = unique
	w.next = (w.next + 1) % len(w.early)
}

func (w *waits) cancelAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for u, c := range w.open {
		delete(w.open, u)
		close(c)
	}
}
