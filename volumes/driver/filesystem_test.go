package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// needRoot ends a test that mounts; in CI it must run.
func needRoot(t *testing.T, commands ...string) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "it mounts: run it as root"
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			why = c + " is not installed"
		}
	}
	if why != "" {
		suite.Absent(t, why)
	}
}

func runCommand(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// disk makes a file system in a file and returns its loop device.
func disk(t *testing.T, mkfs ...string) string {
	t.Helper()
	image := in(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 320<<20))
	runCommand(t, mkfs[0], append(mkfs[1:], image)...)
	loop := runCommand(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v: %s", err, out)
		}
	})
	return loop
}

// unmounted ends what a failed test left.
func unmounted(t *testing.T, d Driver) {
	t.Cleanup(func() {
		if err := d.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestFileSystems: mounted once by the first of many, the data on the device and
// not below it, gone with Unmount, there again with the next Mount.
func TestFileSystems(t *testing.T) {
	needRoot(t, "losetup", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
	for kind, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q"}, "xfs": {"mkfs.xfs", "-q"}, "btrfs": {"mkfs.btrfs", "-q"}} {
		t.Run(kind, func(t *testing.T) {
			v, d := created(t, Local, map[string]string{"type": kind, "device": disk(t, mkfs...), "o": "noatime,nosuid"})
			unmounted(t, d)
			for _, id := range []string{"first", "second"} {
				path, err := d.Mount(t.Context(), id)
				must(t, err)
				must(t, os.WriteFile(in(path, id), []byte(id), 0o644))
			}
			m, found, err := mountAt(v.data())
			if err != nil || !found || m.Type != kind {
				t.Errorf("mounted: %+v, %v, %v", m, found, err)
			}
			if s, err := d.Inspect(t.Context()); err != nil || s.Status["Mounted"] != true {
				t.Errorf("Inspect = %+v, %v", s, err)
			}
			must(t, d.Unmount(t.Context(), "second", true))
			if names, err := os.ReadDir(v.data()); err != nil || len(names) > 0 {
				t.Errorf("below the mount: %v, %v", names, err)
			}
			must(t, d.Unmount(t.Context(), "second", true)) // once more is fine
			if text, err := os.ReadFile(in(mounted(t, d), "first")); string(text) != "first" {
				t.Errorf("after the next Mount: %q, %v", text, err)
			}
			must(t, d.Remove(t.Context()))
		})
	}
}

// TestBusyStaysWhole: a file in use keeps the volume mounted and says so.
func TestBusyStaysWhole(t *testing.T) {
	needRoot(t)
	v, d := created(t, Local, map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=2m"})
	unmounted(t, d)
	f, err := os.Create(in(mounted(t, d), "file"))
	must(t, err)
	if err := d.Unmount(t.Context(), "m", true); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "volume has active mounts") {
		t.Errorf("Unmount = %v", err)
	}
	if _, err := f.Write(make([]byte, 3<<20)); err == nil {
		t.Error("3 MiB fit into size=2m")
	}
	must(t, f.Close())
	must(t, d.Unmount(t.Context(), "m", true))
	if _, found, _ := mountAt(v.data()); found {
		t.Error("still mounted")
	}
}

func TestBind(t *testing.T) {
	needRoot(t)
	host := t.TempDir()
	must(t, os.WriteFile(in(host, "file"), []byte("host"), 0o644))
	for o, readOnly := range map[string]bool{"bind": false, "bind,ro": true, "rbind,ro,rslave": true} {
		v, d := created(t, Local, map[string]string{"type": "none", "o": o, "device": host})
		unmounted(t, d)
		path := mounted(t, d)
		if text, err := os.ReadFile(in(path, "file")); string(text) != "host" {
			t.Errorf("%s: read %q, %v", o, text, err)
		}
		if err := os.WriteFile(in(path, "new"), nil, 0o644); (err != nil) != readOnly {
			t.Errorf("%s: write: %v", o, err)
		}
		must(t, d.Remove(t.Context()))
		if names, err := os.ReadDir(v.data()); err != nil || len(names) > 0 {
			t.Errorf("%s: left: %v, %v", o, names, err)
		}
	}
	if _, err := os.Stat(in(host, "file")); err != nil {
		t.Error("Remove took the host's file:", err)
	}
}

// TestMountRefusals: the error names the remedy and no password, and nothing stays mounted.
func TestMountRefusals(t *testing.T) {
	needRoot(t)
	for options, says := range map[string]string{
		"type=none o=bind device=/nonexistent":                        "the device",
		"type=none o=bind,size=1m device=/":                           `knows no option "size=1m"`,
		"type=nosuchfs device=none":                                   "no such file system",
		"type=tmpfs device=tmpfs o=password=s3cret,nonsense":          "failed to mount local volume",
		"type=nfs device=/export":                                     "give o=addr=HOST",
		"type=cifs device=//host:99/share o=password=s3cret":          "include 'port' in 'o='",
		"type=nfs device=:/export o=addr=no-such-host.invalid":        "error resolving passed in network volume address",
		"type=fuse.nosuchhelper device=x o=password=s3cret,allow_any": "mount -t fuse.nosuchhelper",
	} {
		t.Run(options, func(t *testing.T) {
			m := make(map[string]string)
			for _, f := range strings.Fields(options) {
				k, v, _ := strings.Cut(f, "=")
				m[k] = v
			}
			v, d := created(t, Local, m)
			unmounted(t, d)
			_, err := d.Mount(t.Context(), "m")
			if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Mount = %v, want %q and no password", err, says)
			}
			if _, found, _ := mountAt(v.data()); found {
				t.Error("something is mounted")
			}
		})
	}
}

// TestHelperThatHangs: mount(8) ends with the context, and its helper too.
func TestHelperThatHangs(t *testing.T) {
	needRoot(t)
	kind := fmt.Sprintf("unionmount-test-%d", os.Getpid())
	helper, mark := "/sbin/mount."+kind, in(t.TempDir(), "pid")
	must(t, os.WriteFile(helper, []byte("#!/bin/sh\necho $$ >"+mark+"\nexec sleep 600\n"), 0o755))
	t.Cleanup(func() { os.Remove(helper) })
	_, d := created(t, Local, map[string]string{"type": kind, "device": "x"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	if _, err := d.Mount(ctx, "m"); err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("Mount = %v after %v", err, time.Since(start))
	}
	pid, err := os.ReadFile(mark)
	must(t, err)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the helper lives: %s", state)
		}
	}
}
