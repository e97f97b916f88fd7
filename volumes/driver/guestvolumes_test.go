package driver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// lvmGroup makes a group of a plain logical volume (thick, ext4) and a thin one (xfs).
func lvmGroup(t *testing.T, name string) {
	t.Helper()
	image := t.TempDir() + "/disk"
	ok(t, os.WriteFile(image, nil, 0o600))
	ok(t, os.Truncate(image, 2<<30))
	loop := command(t, "losetup", "--find", "--show", image)
	command(t, "pvcreate", "--yes", loop)
	command(t, "vgcreate", name, loop)
	command(t, "lvcreate", "--yes", "-n", "thick", "-L", "64m", name)
	command(t, "lvcreate", "--yes", "--type", "thin-pool", "-n", "pool", "-L", "800m", name)
	command(t, "lvcreate", "--yes", "-n", "thin", "-V", "400m", "--thinpool", "pool", name)
	command(t, "mkfs.ext4", "-q", "/dev/"+name+"/thick")
	command(t, "mkfs.xfs", "-q", "/dev/"+name+"/thin")
}

// copiesOf lists the logical volumes that were made of one.
func copiesOf(t *testing.T, group, kind string) (copies []string) {
	t.Helper()
	all := strings.Fields(command(t, "lvs", "--noheadings", "-o", "lv_name", group))
	if !slices.Contains(all, kind) {
		t.Errorf("the user's %s is gone: %v", kind, all)
	}
	return slices.DeleteFunc(all, func(n string) bool { return !strings.HasPrefix(n, kind+"-") })
}

// onlyMade wants no copies but these many.
func onlyMade(t *testing.T, group, kind string, copies ...string) {
	t.Helper()
	if got := copiesOf(t, group, kind); len(got) != len(copies) {
		t.Errorf("copies of %s: %v, want %v", kind, got, copies)
	}
}

// TestGuestLVMVolumes: snapshots of volumes on logical ones: taken in use, restored
// onto the user's own device, cloned where lvm can, copied where not.
func TestGuestLVMVolumes(t *testing.T) {
	if os.Getenv("UNIONMOUNT_GUEST") == "" {
		t.Skip("make test-vm runs it in a guest")
	}
	ctx := context.Background()
	lvmGroup(t, "vs")
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
			onlyMade(t, "vs", kind)
			if out, _ := exec.Command("grep", "/dev/mapper/vs", "/proc/self/mountinfo").Output(); len(out) > 0 {
				t.Errorf("mounted still: %s", out)
			}
		})
	}
}

// TestGuestLVMLeavesNothing: a snapshot or clone whose command was killed as soon as
// lvcreate had made it, before anything named it, goes with a later command, as does one
// that could not be made visible. Both stayed in the group for ever.
func TestGuestLVMLeavesNothing(t *testing.T) {
	if os.Getenv("UNIONMOUNT_GUEST") == "" {
		t.Skip("make test-vm runs it in a guest")
	}
	ctx := context.Background()
	if root := os.Getenv("UNIONMOUNT_GUEST_CHILD"); root != "" {
		s := volumes.At(root)
		if name := os.Getenv("UNIONMOUNT_GUEST_CLONE"); name != "" {
			ok(t, cloned(s, name, func() error { return nil }))
			return
		}
		_, err := s.Snapshot(ctx, os.Getenv("UNIONMOUNT_GUEST_SNAPSHOT"), "killed", volumes.How{})
		ok(t, err)
		return
	}
	lvmGroup(t, "vk")
	for _, kind := range []string{"thick", "thin"} {
		t.Run(kind, func(t *testing.T) {
			root := t.TempDir()
			s := volumes.At(root)
			_, _, err := s.Create(ctx, volumes.New{Name: kind, Options: map[string]string{"type": "lvm", "device": "/dev/vk/" + kind}})
			ok(t, err)
			for range 3 {
				killedWhenMade(t, root, "UNIONMOUNT_GUEST_SNAPSHOT", kind, kind)
				if _, err := s.Snapshot(ctx, kind, "next", volumes.How{}); err != nil {
					t.Fatal(err)
				}
				onlyMade(t, "vk", kind, "next")
				ok(t, s.RemoveSnapshot(ctx, kind, "next"))
				onlyMade(t, "vk", kind)

				killedWhenMade(t, root, "UNIONMOUNT_GUEST_CLONE", kind, kind)
				staged, err := filepath.Glob(root + "/volumes/.new-*")
				if err != nil || len(staged) != 1 {
					t.Fatalf("staged: %v, %v", staged, err)
				}
				ok(t, s.Clean(ctx))
				onlyMade(t, "vk", kind, "too young to tell")
				old := time.Now().Add(-time.Hour)
				ok(t, os.Chtimes(staged[0], old, old))
				ok(t, s.Clean(ctx))
				onlyMade(t, "vk", kind)
			}
			inTheWay := filepath.Join(root, "volumes", "of-"+kind, "file")
			if err := cloned(s, kind, func() error {
				return errors.Join(os.Mkdir(filepath.Dir(inTheWay), 0o700), os.WriteFile(inTheWay, nil, 0o600))
			}); err == nil {
				t.Error("a clone took the place of something")
			}
			onlyMade(t, "vk", kind)
			ok(t, os.RemoveAll(filepath.Dir(inTheWay)))
			interrupted(t, s, kind)
			ok(t, cloned(s, kind, func() error { return nil }))
			onlyMade(t, "vk", kind, "clone")
			l, err := s.Lock(ctx, "of-"+kind)
			ok(t, err)
			_, err = l.Remove(ctx, false)
			ok(t, errors.Join(err, l.Unlock()))
			onlyMade(t, "vk", kind)
		})
	}
}

// interrupted takes snapshots whose context ends at some moment: each is there, or nothing of it.
func interrupted(t *testing.T, s *volumes.Store, kind string) {
	t.Helper()
	for _, after := range []time.Duration{20, 100, 200, 300, 400, 600, 900} {
		ctx, cancel := context.WithTimeout(context.Background(), after*time.Millisecond)
		_, err := s.Snapshot(ctx, kind, "cut", volumes.How{})
		cancel()
		if err != nil {
			onlyMade(t, "vk", kind)
			continue
		}
		onlyMade(t, "vk", kind, "cut")
		ok(t, s.RemoveSnapshot(context.Background(), kind, "cut"))
	}
}

// cloned makes the volume of-NAME, and calls meanwhile before it becomes visible.
func cloned(s *volumes.Store, name string, meanwhile func() error) error {
	n, err := s.From(volumes.New{Name: "of-" + name}, name, volumes.How{}, func(volumes.Copied) {})
	if err != nil {
		return err
	}
	work := n.Make
	n.Make = func(ctx context.Context, to driver.Volume, record func(map[string]string) error) error {
		return errors.Join(work(ctx, to, record), meanwhile())
	}
	_, _, err = s.Create(context.Background(), n)
	return err
}

// killedWhenMade has another process copy a volume, and kills it as soon as the copy's device shows.
func killedWhenMade(t *testing.T, root, what, name, kind string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestGuestLVMLeavesNothing$")
	cmd.Env = append(os.Environ(), "UNIONMOUNT_GUEST_CHILD="+root, what+"="+name)
	ok(t, cmd.Start())
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if made, err := filepath.Glob("/dev/vk/" + kind + "-*"); err == nil && len(made) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Error("nothing was made")
			break
		}
	}
	ok(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Error("it had finished before it was killed")
	}
	onlyMade(t, "vk", kind, "an orphan") // lvcreate finishes
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
				filled, err := d.Fill(volumes.FillFunc(func(dir string) error {
					return errors.Join(os.Mkdir(dir+"/dir", 0o755), os.WriteFile(dir+"/dir/in", []byte("in"), 0o644), os.WriteFile(dir+"/file", []byte("top"), 0o644))
				}))
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
