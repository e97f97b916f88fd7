package driver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/driver"
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lvmVolume is a volume in the guest.
type lvmVolume struct {
	t     *testing.T
	store *volumes.Store
	name  string
}

// with attaches the volume while do has its data.
func (v lvmVolume) with(do func(file string)) {
	v.t.Helper()
	l, data, err := v.store.Attach(context.Background(), v.name, []volumes.Use{{Mount: "m"}}, func(*volumes.Data) error { return nil })
	ok(v.t, err)
	do(data + "/file")
	ok(v.t, l.Release(context.Background()))
}

func (v lvmVolume) holds(want string) {
	v.t.Helper()
	v.with(func(file string) {
		if text, err := os.ReadFile(file); err != nil || string(text) != want {
			v.t.Errorf("%s holds %q, %v; want %q", v.name, text, err, want)
		}
	})
}

// TestGuestLVMVolumes: snapshots of volumes on logical ones: taken in use, restored
// onto the user's own device, cloned where lvm can, copied where not.
func TestGuestLVMVolumes(t *testing.T) {
	if os.Getenv("UNIONMOUNT_GUEST") == "" {
		t.Skip("make test-vm runs it in a guest")
	}
	ctx := context.Background()
	image := t.TempDir() + "/disk"
	ok(t, os.WriteFile(image, nil, 0o600))
	ok(t, os.Truncate(image, 2<<30))
	loop := command(t, "losetup", "--find", "--show", image)
	command(t, "pvcreate", "--yes", loop)
	command(t, "vgcreate", "vs", loop)
	command(t, "lvcreate", "--yes", "-n", "thick", "-L", "64m", "vs")
	command(t, "lvcreate", "--yes", "--type", "thin-pool", "-n", "pool", "-L", "800m", "vs")
	command(t, "lvcreate", "--yes", "-n", "thin", "-V", "400m", "--thinpool", "pool", "vs")
	command(t, "mkfs.ext4", "-q", "/dev/vs/thick")
	command(t, "mkfs.xfs", "-q", "/dev/vs/thin")
	for _, kind := range []string{"thick", "thin"} {
		t.Run(kind, func(t *testing.T) {
			s := volumes.At(t.TempDir())
			_, _, err := s.Create(ctx, volumes.New{Name: kind, Options: map[string]string{"type": "lvm", "device": "/dev/vs/" + kind}})
			ok(t, err)
			v := lvmVolume{t, s, kind}
			v.with(func(file string) {
				ok(t, os.WriteFile(file, []byte("one"), 0o644))
				c, err := s.Snapshot(ctx, kind, "s1", volumes.How{})
				if err != nil || !c.PointInTime || c.Method != "lvm snapshot" {
					t.Fatalf("a snapshot in use: %+v, %v", c, err)
				}
				ok(t, os.WriteFile(file, []byte("two"), 0o644))
				if _, err := s.Restore(ctx, kind, "s1", volumes.How{}); !errors.Is(err, volumes.ErrConflict) {
					t.Errorf("restored in use: %v", err)
				}
			})
			v.holds("two")
			copied := fromSnapshot(t, s, volumes.New{Name: "copied", Driver: driver.Local}, kind+"@s1")
			ok(t, copied)
			lvmVolume{t, s, "copied"}.holds("one")
			clone := fromSnapshot(t, s, volumes.New{Name: "clone"}, kind+"@s1")
			if kind == "thick" {
				if !errors.Is(clone, volumes.ErrUnsupported) || !strings.Contains(clone.Error(), "-d local") {
					t.Errorf("a clone of a thick snapshot: %v", clone)
				}
			} else {
				ok(t, clone)
				lvmVolume{t, s, "clone"}.holds("one")
				l, err := s.Lock(ctx, "clone")
				ok(t, err)
				_, err = l.Remove(ctx, false)
				ok(t, errors.Join(err, l.Unlock()))
			}
			c, err := s.Restore(ctx, kind, "s1", volumes.How{})
			if err != nil || c.Copied == 0 {
				t.Errorf("restore: %+v, %v", c, err)
			}
			v.holds("one")
			ok(t, s.RemoveSnapshot(ctx, kind, "s1"))
			if left := command(t, "lvs", "--noheadings", "-o", "lv_name", "vs"); strings.Contains(left, kind+"-") || !strings.Contains(left, kind) {
				t.Errorf("left: %s", left)
			}
			if out, _ := exec.Command("grep", "/dev/mapper/vs", "/proc/self/mountinfo").Output(); len(out) > 0 {
				t.Errorf("mounted still: %s", out)
			}
		})
	}
}

// TestGuestFill: an empty volume on a server is filled like any other. nfs knows no
// RENAME_NOREPLACE: the fill failed there.
func TestGuestFill(t *testing.T) {
	if os.Getenv("UNIONMOUNT_GUEST") == "" {
		t.Skip("make test-vm runs it in a guest")
	}
	for kind, server := range map[string]struct {
		run     func(*testing.T) string
		options map[string]string
	}{
		"nfs":  {driver.NFSServer, map[string]string{"type": "nfs", "device": ":/", "o": "addr=server,vers=4.2"}},
		"cifs": {driver.CIFSServer, map[string]string{"type": "cifs", "device": "//server/share", "o": "username=root,password=" + driver.CIFSPassword}},
	} {
		t.Run(kind, func(t *testing.T) {
			ctx := context.Background()
			export := server.run(t)
			s := volumes.At(t.TempDir())
			_, _, err := s.Create(ctx, volumes.New{Name: "far", Options: server.options})
			ok(t, err)
			l, data, err := s.Attach(ctx, "far", []volumes.Use{{Mount: "m"}}, func(d *volumes.Data) error {
				filled, err := d.Fill(func(dir string) (bool, error) {
					return true, errors.Join(os.Mkdir(dir+"/dir", 0o755), os.WriteFile(dir+"/dir/in", []byte("in"), 0o644), os.WriteFile(dir+"/file", []byte("top"), 0o644))
				})
				if !filled {
					t.Error("it wasn't empty")
				}
				return err
			})
			ok(t, err)
			for name, want := range map[string]string{"dir/in": "in", "file": "top"} {
				for _, at := range []string{data, export} {
					if text, err := os.ReadFile(at + "/" + name); string(text) != want {
						t.Errorf("%s/%s: %q, %v", at, name, text, err)
					}
				}
			}
			if names, err := os.ReadDir(data); err != nil || len(names) != 2 {
				t.Errorf("left: %v, %v", names, err)
			}
			ok(t, l.Release(ctx))
		})
	}
}

func fromSnapshot(t *testing.T, s *volumes.Store, n volumes.New, source string) error {
	t.Helper()
	n, err := s.From(n, source, volumes.How{}, func(volumes.Copied) {})
	if err == nil {
		_, _, err = s.Create(context.Background(), n)
	}
	return err
}
