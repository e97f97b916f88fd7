package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func count(t *testing.T, root string) (n int) {
	t.Helper()
	if err := Update(root, nil, func(tx Tx) error {
		return tx.Each("mount", func(string, []byte) error { n++; return nil })
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTwentyAtOnce(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := Update(root, nil, func(tx Tx) error { return tx.Put("mount", fmt.Sprint(i), []byte("x")) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, root); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}

func TestFailedUpdateLeavesNothing(t *testing.T) {
	root := t.TempDir()
	err := Update(root, nil, func(tx Tx) error {
		if err := tx.Put("mount", "a", nil); err != nil {
			return err
		}
		return os.ErrInvalid
	})
	if err == nil || count(t, root) != 0 {
		t.Errorf("err %v, %d records", err, count(t, root))
	}
}

func TestBrokenIsSetAsideAndRebuilt(t *testing.T) {
	root := t.TempDir()
	if err := Update(root, nil, func(tx Tx) error { return tx.Put("mount", "a", []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "catalog", "MANIFEST"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	rebuilt := false
	err := Update(root, func(tx Tx) error { rebuilt = true; return tx.Put("mount", "b", nil) }, func(Tx) error { return nil })
	if err != nil || !rebuilt || count(t, root) != 1 {
		t.Errorf("rebuilt %v, %d records, %v", rebuilt, count(t, root), err)
	}
	kept, err := filepath.Glob(filepath.Join(root, "catalog.broken-*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("set aside: %v, %v", kept, err)
	}
}
