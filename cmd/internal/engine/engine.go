package engine

import (
	"os"
	"path/filepath"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes"
)

// Engine works below one root. It holds nothing open and may be copied.
type Engine struct{ Root string }

const (
	version   = 1                 // of records and states; a higher one is refused by name
	unionType = "fuse.unionmount" // of our mounts in mountinfo

	// patienceStart is how long what is just ending may stand in the way of a start.
	patienceStart = 5 * time.Second
	// patienceEnd is how long a daemon may take to end after its mount is gone.
	patienceEnd = 30 * time.Second
)

func (e *Engine) mountDir(name string) string  { return filepath.Join(e.Root, "mounts", name) }
func (e *Engine) config(name string) string    { return filepath.Join(e.mountDir(name), "config.json") }
func (e *Engine) statePath(name string) string { return filepath.Join(e.Root, "run", name+".json") }
func (e *Engine) logPath(name string) string   { return filepath.Join(e.Root, "log", name+".log") }

func (e *Engine) volumes() *volumes.Store {
	s := volumes.At(e.Root)
	s.Leaseless = e.leaseless
	return s
}

// DefaultRoot is where mounts and volumes live unless --root says otherwise.
func DefaultRoot() (string, error) {
	if r := os.Getenv("UNIONMOUNT_ROOT"); r != "" {
		return r, nil
	}
	if os.Geteuid() == 0 && !inUserNamespace() {
		return "/var/lib/unionmount", nil
	}
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "unionmount"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fail(nil, "root", "%w: give --root DIR", err)
	}
	return filepath.Join(home, ".local/share/unionmount"), nil
}

// IsTerminal tells whether a person reads or writes f.
func IsTerminal(f *os.File) bool { return sys.IsTerminal(int(f.Fd())) }
