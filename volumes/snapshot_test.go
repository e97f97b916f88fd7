package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSnapshotOfPlainDirectory(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	if _, _, err := s.Create(ctx, New{Name: "db"}); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.Mountpoint("db"), "f"), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	if err := os.Link(filepath.Join(s.Mountpoint("db"), "f"), filepath.Join(s.Mountpoint("db"), "g")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(ctx, "db", "one", false); err != nil {
		t.Fatal(err)
	}
	write("after")
	if _, err := s.Snapshot(ctx, "db", "one", false); !errors.Is(err, ErrConflict) {
		t.Errorf("a second snapshot of the name: %v", err)
	}
	if _, err := s.Clone(ctx, Origin{"db", "one"}, New{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(s.Mountpoint("old"), "f")
	if text, err := os.ReadFile(f); string(text) != "before" {
		t.Errorf("the clone holds %q, %v", text, err)
	}
	if st, err := os.Stat(f); err != nil || st.Mode() != 0o640 || st.Sys().(*syscall.Stat_t).Nlink != 2 {
		t.Errorf("mode or hard link lost: %v %v", st, err)
	}
	if _, err := s.Clone(ctx, Origin{"db", "none"}, New{Name: "x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a clone of no snapshot: %v", err)
	}
	if _, err := s.Clone(ctx, Origin{Volume: "db"}, New{Name: "old"}); !errors.Is(err, ErrConflict) {
		t.Errorf("a clone over a volume: %v", err)
	}

	lease, _, err := s.Attach(ctx, "db", []Use{{Mount: "m", Path: "/d"}}, func(*Data) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(ctx, "db", "two", false); !errors.Is(err, ErrConflict) {
		t.Errorf("a snapshot while in use: %v", err)
	}
	if m, err := s.Snapshot(ctx, "db", "two", true); err != nil || m.Name != "live copy, no point in time" {
		t.Errorf("a live one: %v %v", m, err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(ctx, "db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Remove(ctx, true); !errors.Is(err, ErrConflict) {
		t.Errorf("removed with its snapshots: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := s.RemoveSnapshot(ctx, Origin{"db", name}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.Snapshots("db"); len(all) != 0 || err != nil {
		t.Errorf("left: %v %v", all, err)
	}
}
