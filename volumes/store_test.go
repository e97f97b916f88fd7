package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/volumes/driver"
)

func mustCreate(t *testing.T, s *Store, name string) Volume {
	t.Helper()
	v, _, err := s.Create(context.Background(), New{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func remove(s *Store, name string) error {
	l, err := s.Lock(context.Background(), name)
	if err != nil {
		return err
	}
	sweep, err := l.Remove(context.Background(), false)
	if err == nil {
		err = sweep()
	}
	return errors.Join(err, l.Unlock())
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != locksDir {
			all = append(all, e.Name())
		}
	}
	return all
}

func TestStoreLife(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	v, made, err := s.Create(ctx, New{Name: "db", Driver: driver.Local, Labels: map[string]string{"k": "v"}})
	if err != nil || !made {
		t.Fatalf("Create = %v, %v", made, err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, made, err := s.Create(ctx, New{Name: "db", Labels: map[string]string{"k": "w"}})
	if err != nil || made || again.Labels["k"] != "v" {
		t.Fatalf("the second Create = %+v, %v, %v", again, made, err)
	}
	if _, _, err := s.Create(ctx, New{Name: "db", Driver: "btrfs"}); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "volume name must be unique") {
		t.Errorf("Create with another driver: %v", err)
	}
	if err := remove(s, "db"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("db"); !errors.Is(err, ErrNotFound) || err.Error() != "get db: no such volume" {
		t.Fatalf("Get after Remove: %v", err)
	}
	if left := names(t, s.dir); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestCreateOnceAtTheSameTime(t *testing.T) {
	s := At(t.TempDir())
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 20 {
		wg.Go(func() {
			_, made, err := s.Create(context.Background(), New{Name: "same"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if made {
				total++
			}
		})
	}
	wg.Wait()
	if total != 1 {
		t.Errorf("made %d times", total)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	mustCreate(t, s, "other")
	for _, n := range []New{
		{Name: "new", Options: map[string]string{"bad": "option"}},
		{Name: "new", Driver: "no-such-plugin"},
		{Name: "new", Options: map[string]string{"type": "tmpfs"}},
		{Name: "new", Make: func(context.Context, driver.Volume, func(map[string]string) error) error { return os.ErrInvalid }},
		{Name: "new", Make: func(_ context.Context, v driver.Volume, record func(map[string]string) error) error {
			return errors.Join(record(map[string]string{"size": "0"}), os.Mkdir(filepath.Join(v.Dir, driver.DataDir), 0o755), os.ErrInvalid)
		}},
	} {
		if _, _, err := s.Create(ctx, n); err == nil {
			t.Errorf("%+v was made", n)
		}
	}
	if left := names(t, s.dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDataWithoutOptionsIsAVolume(t *testing.T) {
	s := At(t.TempDir())
	if err := os.MkdirAll(filepath.Join(s.dir, "old", driver.DataDir), 0o755); err != nil {
		t.Fatal(err)
	}
	v, err := s.Get("old")
	if err != nil || v.Driver != driver.Local {
		t.Fatalf("Get = %+v, %v", v, err)
	}
	if at, err := time.Parse(time.RFC3339, v.CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("CreatedAt = %q", v.CreatedAt)
	}
}

// TestFileIsNoVolume: a file among the volumes made every listing fail.
func TestFileIsNoVolume(t *testing.T) {
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	if err := os.WriteFile(filepath.Join(s.dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Name != "db" {
		t.Errorf("List = %+v, %v", all, err)
	}
	if _, err := s.Get("README"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, _, err := s.Create(t.Context(), New{Name: "README"}); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "is in the way, which is no volume") {
		t.Errorf("Create: %v", err)
	}
}

// TestNewerOptionsAreRefused: what a later version wrote is neither guessed at nor rewritten.
func TestNewerOptionsAreRefused(t *testing.T) {
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	if err := os.WriteFile(filepath.Join(s.dir, "db", optionsFile), []byte(`{"version": 99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("db"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Get: %v", err)
	}
	if err := remove(s, "db"); err == nil {
		t.Error("removed")
	}
}

// TestCleanLeavesVolumesAlone: what an interrupted rm left goes, what somebody may be making stays.
func TestCleanLeavesVolumesAlone(t *testing.T) {
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	for _, dir := range []string{gonePrefix + "1/x/_data", newPrefix + "1"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := names(t, s.dir); len(left) != 2 || left[0] != newPrefix+"1" || left[1] != "db" {
		t.Errorf("left: %v", left)
	}
}

// TestCleanLeavesARemovalAlone: what another command is removing is that one's, which may
// have to show it again.
func TestCleanLeavesARemovalAlone(t *testing.T) {
	ctx, s := context.Background(), At(t.TempDir())
	mustCreate(t, s, "db")
	l, err := s.Lock(ctx, "db")
	if err != nil {
		t.Fatal(err)
	}
	sweep, err := l.Remove(ctx, false)
	if err := errors.Join(err, l.Unlock()); err != nil {
		t.Fatal(err)
	}
	if err := s.Clean(ctx); err != nil {
		t.Error(err)
	}
	if left := names(t, s.dir); len(left) != 1 || !strings.HasPrefix(left[0], gonePrefix) {
		t.Errorf("while it is being removed: %v", left)
	}
	if err := sweep(); err != nil {
		t.Error(err)
	}
	if left := names(t, s.dir); len(left) != 0 {
		t.Errorf("in the end: %v", left)
	}
}

// TestCleanUnmountsWhatAKilledCopyLeft: the file system that a copy was made onto, or the
// archive unpacked, stayed mounted below the unfinished volume, and every prune failed at it.
func TestCleanUnmountsWhatAKilledCopyLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "it mounts: run it as root")
	}
	s := At(t.TempDir())
	mustCreate(t, s, "db")
	dir := filepath.Join(s.dir, newPrefix+"1")
	at := filepath.Join(dir, driver.DataDir)
	old := time.Now().Add(-2 * staleAfter)
	if err := errors.Join(os.MkdirAll(at, 0o700), os.Chtimes(dir, old, old), sys.MountFS("tmpfs", at, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sys.Unmount(at, true) }) // if it is mounted still
	if err := s.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	if left := names(t, s.dir); len(left) != 1 || left[0] != "db" {
		t.Errorf("left: %v", left)
	}
}
