package driver

import (
	"errors"
	"os"
	"testing"
)

func open(t *testing.T, v Volume) Driver {
	t.Helper()
	d, err := Open(v)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPlainLife(t *testing.T) {
	v := Volume{Name: "db", Dir: t.TempDir()}
	d := open(t, v)
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	path, err := d.Mount(t.Context(), "m")
	if err != nil || path != v.Dir+"/_data" {
		t.Fatalf("Mount = %q, %v", path, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the data directory: %v, %v", st, err)
	}
	if s, err := d.Inspect(t.Context()); err != nil || s.Mountpoint != path || s.Scope != "local" {
		t.Errorf("Inspect = %+v, %v", s, err)
	}
	if err := errors.Join(d.Unmount(t.Context(), "m"), d.Remove(t.Context()), d.Remove(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestUnknownDriver(t *testing.T) {
	if _, err := Open(Volume{Name: "db", Driver: "nope"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Open = %v", err)
	}
	if _, err := Open(Volume{Name: "db", Options: map[string]string{"colour": "red"}}); !errors.Is(err, ErrBadOption) {
		t.Errorf("Open = %v", err)
	}
}
