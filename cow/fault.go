package cow

// Injector is asked before every step that changes the disk; an error it
// returns is the step's. It is nil in production and how tests fail the i-th
// operation, for every i.
type Injector func(step string) error

// step lets the injector fail what comes next.
func (w *Writer) step(name string) error {
	if w.Inject == nil {
		return nil
	}
	return w.Inject(name)
}
