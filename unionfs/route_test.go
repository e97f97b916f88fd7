package unionfs

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestRouteNameLasts: the kernel once asked for a route's name at every path
// that led through it, also under a bind mount: 25 us for each stat in a volume.
// The name lasts; what the host may change behind it doesn't.
func TestRouteNameLasts(t *testing.T) {
	lower, source := t.TempDir(), t.TempDir()
	if err := os.WriteFile(source+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, io := range []IO{IOCached, IOOpen} {
		fs, err := Open(Config{Lowers: []string{lower}, IO: io, Log: slog.New(slog.DiscardHandler),
			Volumes: []Volume{{Source: source, Target: "/a/volume"}}})
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
		at := fs.union.root.id
		for _, step := range []struct {
			name          string
			entry, attrib time.Duration
		}{{"a", forever, forever}, {"volume", forever, 0}, {"file", 0, 0}} {
			var out fuse.EntryOut
			if s := c.Lookup(nil, &fuse.InHeader{NodeId: at}, step.name, &out); !s.Ok() {
				t.Fatalf("%s: look up %s: %v", io, step.name, s)
			}
			if out.EntryTimeout() != step.entry || out.AttrTimeout() != step.attrib {
				t.Errorf("%s: %s: name lasts %v, attributes %v", io, step.name, out.EntryTimeout(), out.AttrTimeout())
			}
			at = out.NodeId
		}
		if err := fs.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
