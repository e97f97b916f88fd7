package driver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rclone starts `rclone serve docker`, a Docker volume plugin that many use, in
// Docker's folder under a name of our own. kill is a kill -9.
func rclone(t *testing.T) (name, base string, kill func()) {
	t.Helper()
	needRoot(t, "rclone", "fusermount3")
	const folder = "/run/docker/plugins"
	for _, dir := range []string{"/run/docker", folder} {
		if err := os.Mkdir(dir, 0o755); err == nil {
			t.Cleanup(func() { os.Remove(dir) })
		}
	}
	name = fmt.Sprintf("unionmount-test-rclone-%d", os.Getpid())
	socket, dir := in(folder, name+".sock"), t.TempDir()
	base = in(dir, "base")
	cmd := exec.Command("rclone", "serve", "docker", "--socket-addr", socket, "--base-dir", base,
		"--cache-dir", in(dir, "cache"), "--config", in(dir, "config"))
	log, err := os.Create(in(dir, "log"))
	must(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(t, cmd.Start())
	var ended bool
	kill = func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			ended = true
		}
	}
	t.Cleanup(func() {
		kill()
		_ = os.Remove(socket)
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("rclone: %s", text)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return name, base, kill
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("rclone: %s", text)
		}
	}
}

// TestRealPlugin: a volume's life with a plugin that others wrote: its data is
// where the plugin says, each holder counts, and what the plugin refuses is said in its words.
func TestRealPlugin(t *testing.T) {
	name, base, kill := rclone(t)
	data := t.TempDir()
	v := Volume{Name: "vol", Driver: name, Dir: t.TempDir(), Options: map[string]string{"type": "local", "path": data}}
	d := open(t, v)
	bad := v
	bad.Name, bad.Options = "bad", map[string]string{"type": "local", "path": data, "nonsense": "1", "sftp-pass": "s3cret"}
	if err := open(t, bad).Create(t.Context()); err == nil || !strings.Contains(err.Error(), "VolumeDriver.Create: ") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Create with a bad option = %v", err)
	}
	must(t, d.Create(t.Context()))
	if err := d.Create(t.Context()); !errors.Is(err, ErrExists) { // the plugin has it
		t.Errorf("Create once more = %v", err)
	}
	path := mounted(t, d)
	if path != in(base, "vol") {
		t.Errorf("Mount says %s", path)
	}
	if again, err := d.Mount(t.Context(), "second"); err != nil || again != path {
		t.Errorf("the second Mount = %s, %v", again, err)
	}
	must(t, os.WriteFile(in(path, "file"), []byte("by way of rclone\n"), 0o644))
	must(t, d.Unmount(t.Context(), "m", false))
	if s, err := d.Inspect(t.Context()); err != nil || s.Mountpoint != path || s.Scope != "local" || s.Status == nil {
		t.Errorf("Inspect = %+v, %v", s, err)
	}
	if text, err := os.ReadFile(in(path, "file")); string(text) != "by way of rclone\n" {
		t.Errorf("after the first Unmount: %q, %v", text, err)
	}
	if err := d.Remove(t.Context()); err == nil {
		t.Error("Remove while it is mounted succeeded")
	}
	must(t, d.Unmount(t.Context(), "second", true))
	if _, found, err := mountAt(path); err != nil || found {
		t.Errorf("still mounted: %v", err)
	}
	if text, err := os.ReadFile(in(data, "file")); string(text) != "by way of rclone\n" {
		t.Errorf("the data: %q, %v", text, err)
	}
	must(t, d.Remove(t.Context()))
	must(t, d.Remove(t.Context())) // gone already
	if _, err := d.Inspect(t.Context()); err == nil {
		t.Error("Inspect of a removed volume succeeded")
	}
	kill()
	must(t, os.Remove("/run/docker/plugins/"+name+".sock"))
	if _, err := Open(v); !errors.Is(err, ErrNotFound) {
		t.Errorf("without the plugin: %v", err)
	}
}
