package catalog

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// TestBrokenIsSetAsideAndRebuilt damages each of badger's files in turn, in two
// ways: the next command works, with every record that the directories give.
func TestBrokenIsSetAsideAndRebuilt(t *testing.T) {
	names := []string{}
	for _, f := range files(t, filled(t)) {
		names = append(names, filepath.Base(f))
	}
	for _, name := range names {
		for damage, content := range map[string]string{"empty": "", "garbage": strings.Repeat("garbage", 100)} {
			t.Run(name+" "+damage, func(t *testing.T) {
				root := filled(t)
				if err := os.WriteFile(filepath.Join(root, "catalog", name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				rebuild := func(tx Tx) error {
					for i := range 3 {
						if err := tx.Put("mount", fmt.Sprint(i), []byte("rebuilt")); err != nil {
							return err
						}
					}
					return nil
				}
				if err := Update(root, rebuild, func(tx Tx) error { return nil }); err != nil {
					t.Fatal(err)
				}
				if n := count(t, root); n != 3 {
					t.Errorf("%d records, want 3", n)
				}
			})
		}
	}
}

// filled makes a catalogue of three records.
func filled(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for i := range 3 {
		if err := Update(root, nil, func(tx Tx) error {
			return tx.Put("mount", fmt.Sprint(i), []byte(strings.Repeat("x", 2000)))
		}); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func files(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "catalog", "*"))
	if err != nil || len(found) < 3 {
		t.Fatalf("badger's files: %v, %v", found, err)
	}
	return found
}

// TestBrokenIsKept: what can't be read is moved aside, never deleted.
func TestBrokenIsKept(t *testing.T) {
	root := filled(t)
	if err := os.WriteFile(filepath.Join(root, "catalog", "MANIFEST"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := count(t, root); n != 0 {
		t.Errorf("%d records without a rebuild", n)
	}
	kept, err := filepath.Glob(filepath.Join(root, "catalog.broken-*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("set aside: %v, %v", kept, err)
	}
}

// TestManyProcesses opens one catalogue from twenty processes at once.
func TestManyProcesses(t *testing.T) {
	if root := os.Getenv("CATALOG_TEST_ROOT"); root != "" {
		if err := Update(root, nil, func(tx Tx) error { return tx.Put("mount", fmt.Sprint(os.Getpid()), nil) }); err != nil {
			t.Fatal(err)
		}
		return
	}
	root := t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$")
			cmd.Env = append(os.Environ(), "CATALOG_TEST_ROOT="+root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := count(t, root); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}
