package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestStoreLife(t *testing.T) {
	s := At(t.TempDir())
	v, made, err := s.Create("db", Local, map[string]string{"k": "v"}, nil)
	if err != nil || !made {
		t.Fatalf("Create = %v, %v", made, err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, made, err := s.Create("db", Local, nil, nil)
	if err != nil || made || again.Labels["k"] != "v" {
		t.Fatalf("the second Create = %+v, %v, %v", again, made, err)
	}
	sweep, err := s.Remove("db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("db"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get before the sweep: %v", err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("db"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get after Remove: %v", err)
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

func TestCreateOnceAtTheSameTime(t *testing.T) {
	s := At(t.TempDir())
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 20 {
		wg.Go(func() {
			_, made, err := s.Create("same", Local, nil, nil)
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

func TestDataWithoutOptionsIsAVolume(t *testing.T) {
	s := At(t.TempDir())
	if err := os.MkdirAll(filepath.Join(s.dir, "old", dataDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get("old"); err != nil || v.Driver != Local {
		t.Fatalf("Get = %+v, %v", v, err)
	}
}
