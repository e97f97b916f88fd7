package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unionmount/unionmount/volumes/tree"
)

func TestParseSnapshot(t *testing.T) {
	for s, want := range map[string][2]string{"db": {"db", ""}, "db@s1": {"db", "s1"}, "a.b@2026-01-01_x": {"a.b", "2026-01-01_x"}} {
		if v, n, err := ParseSnapshot(s); err != nil || v != want[0] || n != want[1] {
			t.Errorf("ParseSnapshot(%q) = %q, %q, %v", s, v, n, err)
		}
	}
	for _, s := range []string{"", "@s1", "db@", "db@s", "db@.new-1", "db@a/b", "db@..", "../db@s1", "db@s1@s2", "db@" + strings.Repeat("s", 256)} {
		if v, n, err := ParseSnapshot(s); !errors.Is(err, ErrBadSpec) {
			t.Errorf("ParseSnapshot(%q) = %q, %q, %v", s, v, n, err)
		}
	}
}

// made makes a volume with one file.
func made(t *testing.T, s *Store, name string) Volume {
	t.Helper()
	v, _, err := s.Create(context.Background(), New{Name: name})
	if err == nil {
		err = os.WriteFile(v.Mountpoint+"/f", []byte("old"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func namesIn(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestInterruptedRestoreIsFinished: a restore whose data's root must stay, interrupted
// at each of its steps. Whoever attaches the volume next finds the old or the new, whole.
func TestInterruptedRestoreIsFinished(t *testing.T) {
	const stage = insidePrefix + "stage"
	steps := map[string]struct {
		step    string
		prepare []string // made in the data
		want    []string
	}{
		"before it was copied":   {stepStage, nil, []string{"f"}},
		"while it was copied":    {stepStage, []string{stage + "/g"}, []string{"f"}},
		"when it was complete":   {stepReplace, []string{stage + "/g", stage + "/d/h"}, []string{"d", "g"}},
		"when the old was gone":  {stepMove, []string{stage + "/g", stage + "/d/h"}, []string{"d", "f", "g"}},
		"while it was moved up":  {stepMove, []string{stage + "/g", "d/h"}, []string{"d", "f", "g"}},
		"with a file system":     {stepReplace, []string{stage + "/g", "lost+found/"}, []string{"g", "lost+found"}},
		"with names in the way":  {stepReplace, []string{stage + "/f/deep"}, []string{"f"}},
		"with links to mounts":   {stepReplace, []string{stage + "/g", "out -> /proc", "root -> /"}, []string{"g"}},
		"with nothing in it":     {stepReplace, []string{stage + "/"}, nil},
		"when the stage is gone": {stepReplace, nil, []string{"f"}}, // and nothing else
		"when nothing was begun": {"", []string{stage + "/g"}, []string{stage, "f"}},
	}
	for name, c := range steps {
		t.Run(name, func(t *testing.T) {
			s := At(t.TempDir())
			v := made(t, s, "db")
			for _, p := range c.prepare {
				p, to, link := strings.Cut(p, " -> ")
				at := filepath.Join(v.Mountpoint, p)
				if link {
					if err := os.Symlink(to, at); err != nil {
						t.Fatal(err)
					}
				} else if strings.HasSuffix(p, "/") {
					if err := os.MkdirAll(at, 0o755); err != nil {
						t.Fatal(err)
					}
				} else if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte("new"), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if c.step != "" {
				note := inside{Stage: stage, Step: c.step, data: &Data{locked: &Locked{Name: "db", store: s}}}
				if err := note.note(); err != nil {
					t.Fatal(err)
				}
			}
			l, _, err := s.Attach(context.Background(), "db", []Use{{Mount: "m"}}, func(*Data) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Release(context.Background()); err != nil {
				t.Fatal(err)
			}
			got := namesIn(t, v.Mountpoint)
			if !slices.Equal(got, c.want) {
				t.Errorf("the data holds %v, want %v", got, c.want)
			}
			if _, err := os.Lstat(filepath.Join(s.dir, "db", insideFile)); err == nil {
				t.Error("the note is left")
			}
		})
	}
}

// TestSnapshotsOfOneName: of two live copies of one name the one that is ready later
// is refused as it would have been before, and leaves nothing. It failed with "file exists".
func TestSnapshotsOfOneName(t *testing.T) {
	ctx := context.Background()
	s := At(t.TempDir())
	v := made(t, s, "db")
	all := filepath.Join(filepath.Dir(v.Mountpoint), snapshotsDir)
	told := false
	during := func(tree.Result) { // as another process does it
		if !told {
			told = true
			if err := os.MkdirAll(filepath.Join(all, "s1", "_data"), 0o700); err != nil {
				t.Error(err)
			}
		}
	}
	_, err := s.Snapshot(ctx, "db", "s1", How{Live: true, Tell: during})
	if !told {
		t.Fatal("nothing was copied")
	}
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "snapshot rm db@s1") {
		t.Errorf("the second: %v", err)
	}
	if names := namesIn(t, all); !slices.Equal(names, []string{"s1"}) {
		t.Errorf("there are %v", names)
	}
}

// TestLiveCopyHoldsTheVolume: while it is copied live, it can be attached, but neither removed nor restored.
func TestLiveCopyHoldsTheVolume(t *testing.T) {
	ctx := context.Background()
	s := At(t.TempDir())
	made(t, s, "db")
	if _, err := s.Snapshot(ctx, "db", "s1", How{}); err != nil {
		t.Fatal(err)
	}
	told := false
	during := func(tree.Result) {
		if told {
			return
		}
		told = true
		l, err := s.Lock(ctx, "db")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Remove(ctx, true); !errors.Is(err, ErrConflict) {
			t.Errorf("remove: %v", err)
		}
		if err := l.sweepSnapshots(ctx); err != nil {
			t.Errorf("sweep: %v", err)
		}
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
		if _, err := s.Restore(ctx, "db", "s1", How{}); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "copy.") {
			t.Errorf("restore: %v", err)
		}
		lease, _, err := s.Attach(ctx, "db", []Use{{Mount: "m"}}, func(*Data) error { return nil })
		if err == nil {
			err = lease.Release(ctx)
		}
		if err != nil {
			t.Errorf("attach: %v", err)
		}
	}
	c, err := s.Snapshot(ctx, "db", "s2", How{Live: true, Tell: during})
	if err != nil || !told {
		t.Fatalf("told %v, %v", told, err)
	}
	if c.PointInTime {
		t.Error("a mount had it meanwhile: it is no point in time")
	}
	if uses, err := s.Uses("db"); err != nil || len(uses) > 0 {
		t.Errorf("it is still in use: %v, %v", uses, err)
	}
}

// TestSnapshotInUse: one that is being read is not removed.
func TestSnapshotInUse(t *testing.T) {
	ctx := context.Background()
	s := At(t.TempDir())
	made(t, s, "db")
	if _, err := s.Snapshot(ctx, "db", "s1", How{}); err != nil {
		t.Fatal(err)
	}
	n, err := s.From(New{Name: "copy"}, "db@s1", How{Tell: func(tree.Result) {
		if err := s.RemoveSnapshot(ctx, "db", "s1"); !errors.Is(err, ErrConflict) {
			t.Errorf("removed while it was copied: %v", err)
		}
	}}, func(Copied) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Create(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveSnapshot(ctx, "db", "s1"); err != nil {
		t.Error(err)
	}
}

// TestCleanLeavesWhatIsBeingMade: however long a copy takes, its directory is no rest.
func TestCleanLeavesWhatIsBeingMade(t *testing.T) {
	ctx := context.Background()
	s := At(t.TempDir())
	made(t, s, "db")
	n, err := s.From(New{Name: "copy"}, "db", How{Tell: func(tree.Result) {
		for _, dir := range namesIn(t, s.dir) {
			if strings.HasPrefix(dir, newPrefix) {
				old := time.Now().Add(-2 * staleAfter)
				if err := os.Chtimes(filepath.Join(s.dir, dir), old, old); err != nil {
					t.Error(err)
				}
			}
		}
		if err := s.Clean(ctx); err != nil {
			t.Error(err)
		}
	}}, func(Copied) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, made, err := s.Create(ctx, n); err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
}

// TestCancelledCopyLeavesNothing: a command that is interrupted clears up.
func TestCancelledCopyLeavesNothing(t *testing.T) {
	s := At(t.TempDir())
	v := made(t, s, "db")
	for what, do := range map[string]func(ctx context.Context, h How) error{
		"snapshot": func(ctx context.Context, h How) error { _, err := s.Snapshot(ctx, "db", "s2", h); return err },
		"restore":  func(ctx context.Context, h How) error { _, err := s.Restore(ctx, "db", "s1", h); return err },
		"create": func(ctx context.Context, h How) error {
			n, err := s.From(New{Name: "copy"}, "db", h, func(Copied) {})
			if err == nil {
				_, _, err = s.Create(ctx, n)
			}
			return err
		},
	} {
		if _, err := s.Snapshot(context.Background(), "db", "s1", How{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		if err := do(ctx, How{Tell: func(tree.Result) { cancel() }}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if text, err := os.ReadFile(v.Mountpoint + "/f"); err != nil || string(text) != "old" {
			t.Errorf("%s: the data: %q, %v", what, text, err)
		}
		if got := namesIn(t, filepath.Join(s.dir, "db", snapshotsDir)); !slices.Equal(got, []string{"s1"}) {
			t.Errorf("%s left %v", what, got)
		}
		if got := namesIn(t, filepath.Join(s.dir, "db")); slices.ContainsFunc(got, func(n string) bool { return n[0] == '.' }) {
			t.Errorf("%s left %v", what, got)
		}
		if got := namesIn(t, s.dir); !slices.Equal(got, []string{".locks", "db"}) {
			t.Errorf("%s left %v", what, got)
		}
		if err := s.RemoveSnapshot(context.Background(), "db", "s1"); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// TestSnapshotOfRemovedVolume: a volume that is removed while its snapshot waits for the
// lock is not found; it was "mkdir: no such file or directory".
func TestSnapshotOfRemovedVolume(t *testing.T) {
	s, ctx := At(t.TempDir()), context.Background()
	made(t, s, "db")
	l, err := s.Lock(ctx, "db")
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan error)
	go func() {
		_, err := s.Snapshot(ctx, "db", "s1", How{})
		answer <- err
	}()
	time.Sleep(50 * time.Millisecond) // it waits for the lock now
	sweep, err := l.Remove(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sweep(), l.Unlock()); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; !errors.Is(err, ErrNotFound) {
		t.Errorf("snapshot of a removed volume: %v", err)
	}
}
