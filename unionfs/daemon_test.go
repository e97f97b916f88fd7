package unionfs_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
	"github.com/unionmount/unionmount/unionfs/suite/worker"
)

// TestMain lets the test binary play workers of the suites and daemons.
func TestMain(m *testing.M) {
	worker.Main()
	if spec := os.Getenv("UNIONFS_TEST_DAEMON"); spec != "" {
		if err := serveDaemon(spec); err != nil {
			fmt.Fprintln(os.Stderr, "daemon:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runWatched(m))
}

// daemon is a union served by a process of its own: it can be killed, and a process that touches its mappings does
// not wait for itself.
type daemon struct {
	Config     unionfs.Config
	Mountpoint string
	User       bool // a plain user serves, by fusermount3
	cmd        *exec.Cmd
}

func serveDaemon(spec string) error {
	var d daemon
	if err := json.Unmarshal([]byte(spec), &d); err != nil {
		return err
	}
	d.Config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	fs, err := unionfs.Open(d.Config)
	if err != nil {
		return err
	}
	if err := fs.Mount(d.Mountpoint); err != nil {
		return err
	}
	fmt.Println("ready", fs.Transport())
	fs.Wait()
	return fs.Close()
}

func (d *daemon) start() error {
	spec, err := json.Marshal(d)
	if err != nil {
		return err
	}
	d.cmd = exec.Command("/proc/self/exe")
	d.cmd.Env = append(os.Environ(), "UNIONFS_TEST_DAEMON="+string(spec))
	d.cmd.Stderr = os.Stderr
	if d.User {
		d.cmd.Dir = "/"
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainUser}}
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	want := map[bool]string{true: "ready device\n", false: "ready io_uring\n"}[d.Config.NoRing]
	if line, err := bufio.NewReader(out).ReadString('\n'); line != want {
		return fmt.Errorf("daemon not ready: %q, want %q; %v; %v", line, want, err, errors.Join(sys.DetachMount(d.Mountpoint), d.cmd.Wait()))
	}
	return nil
}

func (d *daemon) stop() error {
	if err := suite.Unmount(d.Mountpoint); err != nil {
		_ = sys.DetachMount(d.Mountpoint)
		_ = d.cmd.Wait()
		return fmt.Errorf("unmount: %w", err)
	}
	return d.cmd.Wait()
}

func (d *daemon) kill() error { return d.cmd.Process.Kill() }

// restart mounts again after kill.
func (d *daemon) restart() error {
	_ = d.cmd.Wait() // says that it was killed
	if err := sys.DetachMount(d.Mountpoint); err != nil {
		return err
	}
	return d.start()
}
