package driver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sshd starts a server of our own on the loopback, which lets only our key in,
// and returns the options of sshfs for it. kill ends it and every session of it.
func sshd(t *testing.T) (o string, kill func()) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir("/run/sshd", 0o755); err == nil { // what its service would do
		t.Cleanup(func() { os.Remove("/run/sshd") })
	}
	for _, key := range []string{"host", "user"} {
		runCommand(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", in(dir, key))
	}
	public, err := os.ReadFile(in(dir, "user.pub"))
	must(t, err)
	must(t, os.WriteFile(in(dir, "authorized"), public, 0o600))
	port := freePort(t)
	config := fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
`, port, dir, dir)
	must(t, os.WriteFile(in(dir, "config"), []byte(config), 0o600))
	log, err := os.Create(in(dir, "log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", in(dir, "config"))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(t, cmd.Start())
	var ended bool
	kill = func() {
		if ended {
			return
		}
		ended = true
		sessions, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, child := range strings.Fields(string(sessions)) {
			var pid int
			_, _ = fmt.Sscan(child, &pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	t.Cleanup(kill)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("sshd: %v: %s", err, text)
		}
	}
	return fmt.Sprintf("port=%d,IdentityFile=%s/user,UserKnownHostsFile=%s/known,StrictHostKeyChecking=no,BatchMode=yes,allow_other", port, dir, dir), kill
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestSSHFS: a helper of mount(8) with a real server: what one volume writes the
// server has; a server that dies takes nothing else along.
func TestSSHFS(t *testing.T) {
	needRoot(t, "sshfs", "sshd", "ssh-keygen")
	o, kill := sshd(t)
	remote := t.TempDir()
	options := map[string]string{"type": "fuse.sshfs", "device": "root@127.0.0.1:" + remote, "o": o}
	_, d := created(t, Local, options)
	unmounted(t, d)
	path := mounted(t, d)
	must(t, os.WriteFile(in(path, "file"), []byte("over the wire\n"), 0o600))
	if text, err := os.ReadFile(in(remote, "file")); string(text) != "over the wire\n" {
		t.Errorf("the server has %q, %v", text, err)
	}
	if again := mounted(t, d); again != path {
		t.Errorf("the second Mount says %s", again)
	}
	must(t, d.Unmount(t.Context(), "m", true))
	if names, err := os.ReadDir(path); err != nil || len(names) > 0 {
		t.Errorf("below the mount: %v, %v", names, err)
	}
	if text, err := os.ReadFile(in(mounted(t, d), "file")); string(text) != "over the wire\n" {
		t.Errorf("mounted again: %q, %v", text, err)
	}
	// A server of the mount that was killed leaves a dead mount: the next Mount replaces it.
	pid := 0
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, p := range all {
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), path) && strings.Contains(string(text), "sshfs") {
			_, err := fmt.Sscanf(p, "/proc/%d/", &pid)
			must(t, err)
		}
	}
	if pid == 0 {
		t.Fatal("no sshfs runs")
	}
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	ended(t, path)
	if text, err := os.ReadFile(in(mounted(t, d), "file")); string(text) != "over the wire\n" {
		t.Errorf("mounted after a kill: %q, %v", text, err)
	}
	kill()
	ended(t, path) // sshfs unmounts itself if it can
	if _, err := d.Mount(t.Context(), "m"); err == nil || !strings.Contains(err.Error(), "mount -t fuse.sshfs") {
		t.Errorf("Mount without a server = %v", err)
	}
	must(t, d.Remove(t.Context()))
	if _, err := os.Stat(in(remote, "file")); err != nil {
		t.Error("Remove took the server's file:", err)
	}
}

// ended waits until nothing is mounted at path, or its server is dead.
func ended(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m, found, err := mountAt(path)
		must(t, err)
		if !found || !alive(t.Context(), m) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is alive", path)
		}
	}
}
