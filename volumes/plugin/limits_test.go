package plugin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// asks is a transport that looks at a request instead of sending it.
type asks func(*http.Request)

func (a asks) RoundTrip(r *http.Request) (*http.Response, error) {
	a(r)
	return nil, errors.New("not sent")
}

// TestLimits: Docker's, of each method: two minutes for what may move data, one for the rest.
func TestLimits(t *testing.T) {
	for method, want := range map[string]time.Duration{
		Activate: time.Minute, Create: 2 * time.Minute, Remove: time.Minute, Mount: 2 * time.Minute, Unmount: time.Minute,
		Path: time.Minute, Get: time.Minute, List: time.Minute, Capabilities: time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := NewClient("one", Endpoint{Network: "unix"})
			var got time.Duration
			c.http.Transport = asks(func(r *http.Request) {
				end, _ := r.Context().Deadline()
				got = time.Until(end)
			})
			if _, err := c.call(t.Context(), method, Request{}); err == nil {
				t.Error("it was answered")
			}
			if got != want {
				t.Errorf("%s may take %v, want %v", method, got, want)
			}
		})
	}
}

// TestBackOff: a plugin that isn't there yet is tried after 1, 2, 4 and 8 seconds more,
// and given up before half a minute is over, as Docker does.
func TestBackOff(t *testing.T) {
	e := Endpoint{Network: "unix", Address: filepath.Join(t.TempDir(), "none.sock")}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var tries []time.Duration
		d := &net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error {
			tries = append(tries, time.Since(start))
			return nil
		}}
		if _, err := dial(t.Context(), d, e); err == nil {
			t.Error("somebody answered")
		}
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second}; !slices.Equal(tries, want) {
			t.Errorf("tried after %v, want %v", tries, want)
		}
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("given up after %v", took)
		}
	})
}

// TestDockerFolders: root's are Docker's, whatever the environment says; a plain user's
// those of rootless Docker.
func TestDockerFolders(t *testing.T) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "it is root and a plain user by turns: run it as root")
	}
	for name, c := range map[string]struct {
		uid                   int
		runtime, config, home string
		sockets, specs        []string
	}{
		"root": {0, "/run/user/0", "/conf", "/home/me", []string{"/run/docker/plugins"}, []string{"/etc/docker/plugins", "/usr/lib/docker/plugins"}},
		"user": {65534, "/run/user/7", "/conf", "/home/me", []string{"/run/user/7/docker/plugins", "/run/docker/plugins"},
			[]string{"/conf/docker/plugins", "/home/me/.local/lib/docker/plugins"}},
		"without XDG": {65534, "", "", "/home/me", []string{"/run/docker/plugins"},
			[]string{"/home/me/.config/docker/plugins", "/home/me/.local/lib/docker/plugins"}},
		"relative": {65534, "run", "conf", "/home/me", []string{"/run/docker/plugins"}, []string{"/home/me/.local/lib/docker/plugins"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", c.runtime)
			t.Setenv("XDG_CONFIG_HOME", c.config)
			t.Setenv("HOME", c.home)
			must(t, syscall.Setresuid(-1, c.uid, -1))
			f := DockerFolders()
			must(t, syscall.Setresuid(-1, 0, -1))
			if !slices.Equal(f.Sockets, c.sockets) || !slices.Equal(f.Specs, c.specs) {
				t.Errorf("sockets %v, specs %v; want %v, %v", f.Sockets, f.Specs, c.sockets, c.specs)
			}
		})
	}
}
