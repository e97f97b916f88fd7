package driver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/unionmount/unionmount/volumes/plugin"
)

// TestScope: a plugin's volumes are global if it says so; one that is older than the
// question, or says something else, has local ones.
func TestScope(t *testing.T) {
	for name, c := range map[string]struct {
		says *plugin.Capability
		err  error
		want string
	}{
		"global":  {&plugin.Capability{Scope: "global"}, nil, "global"},
		"local":   {&plugin.Capability{Scope: "local"}, nil, "local"},
		"odd":     {&plugin.Capability{Scope: "galactic"}, nil, "local"},
		"nothing": {nil, nil, "local"},
		"older":   {nil, errors.New("no such method"), "local"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "p.sock")
			l, err := net.Listen("unix", socket)
			must(t, err)
			server := &http.Server{Handler: plugin.Handler(map[string]plugin.Method{
				plugin.Get: func(_ context.Context, q plugin.Request) (plugin.Answer, error) {
					return plugin.Answer{Volume: &plugin.Volume{Name: q.Name, Mountpoint: "/there"}}, nil
				},
				plugin.Capabilities: func(context.Context, plugin.Request) (plugin.Answer, error) {
					return plugin.Answer{Capabilities: c.says}, c.err
				},
			})}
			go func() { _ = server.Serve(l) }()
			t.Cleanup(func() { _ = server.Close() })
			r := remote{Volume{Name: "one", Driver: "p"}, plugin.NewClient("p", plugin.Endpoint{Network: "unix", Address: socket})}
			if s, err := r.Inspect(t.Context()); err != nil || s.Scope != c.want || s.Mountpoint != "/there" {
				t.Errorf("%+v, %v; want the scope %s", s, err, c.want)
			}
		})
	}
}
