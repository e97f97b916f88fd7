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

// TestTimeout: names, their absence and attributes last as long as the timeout says, at each request; not at all with 0.
func TestTimeout(t *testing.T) {
	lower := t.TempDir()
	if err := os.WriteFile(lower+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  Config
		want time.Duration
	}{{Config{}, forever}, {Config{Timeout: 1500 * time.Millisecond}, 1500 * time.Millisecond}, {Config{Coherent: true}, 0}} {
		c.cfg.Lowers, c.cfg.IO, c.cfg.Log = []string{lower}, IOCached, slog.New(slog.DiscardHandler)
		fs, err := Open(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		conn := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
		var found, absent fuse.EntryOut
		var attr fuse.AttrOut
		if s := conn.Lookup(nil, &fuse.InHeader{NodeId: fs.union.root.id}, "file", &found); !s.Ok() {
			t.Fatal(s)
		}
		s := conn.Lookup(nil, &fuse.InHeader{NodeId: fs.union.root.id}, "absent", &absent)
		if remembered := s.Ok() && absent.NodeId == 0; remembered != (c.want > 0) || absent.EntryTimeout() != c.want {
			t.Errorf("%v: an absent name: %v, lasts %v", c.want, s, absent.EntryTimeout())
		}
		if s := conn.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: found.NodeId}}, &attr); !s.Ok() {
			t.Fatal(s)
		}
		if found.EntryTimeout() != c.want || found.AttrTimeout() != c.want || attr.Timeout() != c.want {
			t.Errorf("%v: a name lasts %v, attributes %v and %v", c.want, found.EntryTimeout(), found.AttrTimeout(), attr.Timeout())
		}
		if err := fs.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
