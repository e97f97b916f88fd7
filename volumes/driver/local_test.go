package driver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// created makes a volume in a directory of its own, which is clean at the end.
func created(t *testing.T, driver string, options map[string]string) (Volume, Driver) {
	t.Helper()
	v := Volume{Name: "vol", Driver: driver, Dir: t.TempDir(), Options: options}
	d := open(t, v)
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v, d
}

func mounted(t *testing.T, d Driver) (path string) {
	t.Helper()
	path, err := d.Mount(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPlainLife(t *testing.T) {
	v, d := created(t, "", nil)
	path := mounted(t, d)
	if path != v.Dir+"/_data" {
		t.Errorf("Mount says %q", path)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the data directory: %v, %v", st, err)
	}
	if s, err := d.Inspect(t.Context()); err != nil || s.Mountpoint != path || s.Scope != "local" {
		t.Errorf("Inspect = %+v, %v", s, err)
	}
	must(t, errors.Join(d.Unmount(t.Context(), "m", true), d.Remove(t.Context()), d.Remove(t.Context())))
}

// TestPlainOwner: podman's o=uid=,gid=,mode=, with the set-group-id bit that chown would take.
func TestPlainOwner(t *testing.T) {
	needRoot(t) // only root gives away
	v, _ := created(t, Local, map[string]string{"o": "uid=1234,gid=5678,mode=2770"})
	st, err := os.Stat(v.data())
	must(t, err)
	owner := st.Sys().(*syscall.Stat_t)
	if owner.Uid != 1234 || owner.Gid != 5678 || st.Mode().Perm() != 0o770 || st.Mode()&os.ModeSetgid == 0 {
		t.Errorf("owner %d:%d, mode %v", owner.Uid, owner.Gid, st.Mode())
	}
}

// TestBadOptions: what Docker refuses, in its words, and what can't work here, before anything is made.
func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		driver  string
		options string // blank-separated
		kind    error
		says    string
	}{
		{"nope", "", ErrNotFound, `error looking up volume plugin nope: plugin "nope" not found`},
		{"../x", "", ErrNotFound, "not found"},
		{"local", "colour=red", ErrBadOption, `invalid option: "colour"`},
		{"local", "type=tmpfs", ErrBadOption, `missing required option: "device"`},
		{"local", "device=tmpfs", ErrBadOption, `missing required option: "type"`},
		{"local", "o=ro", ErrBadOption, `missing required option: "type"`},
		{"local", "o=uid=1,ro", ErrBadOption, `missing required option: "type"`},
		{"local", "type=tmpfs device=tmpfs size=1m", ErrBadOption, "o=size=1m"},
		{"local", "type=ext4 device=/dev/x o=remount", ErrBadOption, "remount"},
		{"local", "type=none o=bind device=relative", ErrBadOption, "absolute path"},
		{"local", "o=uid=root", ErrBadOption, "invalid option"},
		{"local", "o=mode=rwx", ErrBadOption, "invalid option"},
		{"local", "o=mode=77777", ErrBadOption, "invalid option"},
		{"local", "o=uid=-1", ErrBadOption, "invalid option"},
		{"local", "o=uid", ErrBadOption, `missing value for option: "uid"`},
		{"local", "size=huge", ErrBadOption, "invalid size"},
		{"local", "size=-1", ErrBadOption, "invalid size"},
	} {
		options := make(map[string]string)
		for _, f := range strings.Fields(c.options) {
			k, v, _ := strings.Cut(f, "=")
			options[k] = v
		}
		_, err := Open(Volume{Name: "vol", Driver: c.driver, Dir: "/nonexistent", Options: options})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("-d %s %s: %v, want %v: %s", c.driver, c.options, err, c.kind, c.says)
		}
	}
	for _, ok := range []map[string]string{{"size": "0"}, {"o": ""}, {"o": "uid=0"}, {"type": "", "device": ""}} {
		if _, err := Open(Volume{Name: "vol", Dir: "/nonexistent", Options: ok}); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
}

// TestSizeWithoutQuota: this kernel has no project quotas, or this file system hasn't; the remedy is named.
// TestGuestQuota has them.
func TestSizeWithoutQuota(t *testing.T) {
	for _, o := range []map[string]string{{"size": "10m"}, {"o": "size=10m"}} {
		v := Volume{Name: "vol", Dir: t.TempDir(), Options: o}
		err := open(t, v).Create(t.Context())
		if err == nil {
			t.Skip("project quotas work here")
		}
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "no quota support") || !strings.Contains(err.Error(), "-d btrfs") {
			t.Errorf("%v: %v", o, err)
		}
	}
}

func TestHide(t *testing.T) {
	got := Hide(map[string]string{
		"type": "cifs", "o": "addr=h,username=u,password=s3cret,vers=3.0", "device": "//u:s3cret@host/share", "password": "s3cret"})
	for k, want := range map[string]string{"type": "cifs", "o": "addr=h,username=u,password=********,vers=3.0",
		"device": "//u:********@host/share", "password": "********"} {
		if got[k] != want {
			t.Errorf("%s: %q, want %q", k, got[k], want)
		}
	}
	for _, device := range []string{"/dev/sda1", "host:/export", "user@host:/dir", "ssh://user@host:22/dir", "tmpfs", "[::1]:/x"} {
		if got := hideUser(device); got != device {
			t.Errorf("hideUser(%q) = %q", device, got)
		}
	}
}

func TestFlags(t *testing.T) {
	flags, propagation, data := splitWords("ro, nosuid,rw,size=1m,,rslave,x-mark=1,uid=3").flags()
	if flags != 2 || propagation != 1<<19|1<<14 || data != "size=1m,uid=3" {
		t.Errorf("flags %#x, propagation %#x, data %q", flags, propagation, data)
	}
}

func in(elem ...string) string { return filepath.Join(elem...) }
