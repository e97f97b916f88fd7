package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// filesystem mounts a device at the data directory: any that mount(2) or a
// helper of mount(8) can mount, or a directory of the host.
type filesystem struct {
	Volume
	kind, device string
	words        words
}

// patienceBusy is how long a busy file system is tried again to unmount.
const patienceBusy = 3 * time.Second

func (f filesystem) bind() bool {
	return f.kind == "bind" || f.words.has("bind") || f.words.has("rbind")
}

// Create makes the mount point; the device is asked at first use, as by Docker.
func (f filesystem) Create(context.Context) error { return makeData(f.data(), 0o755) }

// Remove unmounts what a killed process left mounted. The device keeps its data.
func (f filesystem) Remove(ctx context.Context) error { return f.unmount(ctx) }

func (f filesystem) Mount(ctx context.Context, _ string) (string, error) {
	m, mounted, err := mountAt(f.data())
	if err != nil {
		return "", err
	}
	if mounted {
		if alive(ctx, m) {
			return f.data(), nil
		}
		if err := sys.Unmount(f.data(), true); err != nil { // its server was killed
			return "", fmt.Errorf("unmount the dead %s at %s: %w", m.Type, f.data(), err)
		}
	}
	if err := within(ctx, f.mount); err != nil {
		return "", fmt.Errorf("failed to mount local volume: %w", err)
	}
	return f.data(), nil
}

func (f filesystem) mount(ctx context.Context) error {
	shown := hideUser(f.device)
	if f.bind() {
		flags, propagation, data := f.words.without("bind").flags()
		if data != "" {
			return fail(ErrBadOption, "mount %s: a bind knows no option %q", shown, hideWords(data))
		}
		return explain(sys.Bind(f.device, f.data(), flags, propagation), "bind "+shown)
	}
	device, w, err := f.address(ctx)
	if err != nil {
		return err
	}
	if f.hasHelper() {
		return f.exec(ctx, device, w)
	}
	flags, propagation, data := w.flags()
	if err := sys.MountFS(device, f.data(), f.kind, flags, data); err != nil {
		return explain(err, fmt.Sprintf("mount -t %s -o %s %s", f.kind, hideWords(f.Options["o"]), shown))
	}
	if propagation == 0 {
		return nil
	}
	if err := sys.Propagate(f.data(), propagation); err != nil {
		return errors.Join(fmt.Errorf("mount %s: its propagation: %w", shown, err), sys.Unmount(f.data(), true))
	}
	return nil
}

// explain names the remedy of what mount(2) answers so tersely.
func explain(err error, what string) error {
	remedy := ""
	switch {
	case err == nil:
		return nil
	case err == sys.EPERM && os.Geteuid() != 0:
		return fail(ErrUnsupported, "%s: %w: only root mounts file systems", what, err)
	case err == sys.ENODEV:
		remedy = ": this kernel has no such file system, and no helper /sbin/mount.TYPE is installed"
	case err == sys.ENOENT:
		remedy = ": both the device and what it is mounted on must exist"
	case err == sys.EINVAL:
		remedy = ": an option the file system doesn't know, or not its type: see dmesg(1)"
	}
	return fmt.Errorf("%s: %w%s", what, err, remedy)
}

// address gives network file systems the number of their host, as Docker does.
func (f filesystem) address(ctx context.Context) (device string, w words, err error) {
	switch f.kind {
	case "nfs", "nfs4":
		w = f.words
		if w.value("addr") == "" {
			host, _, ok := strings.Cut(f.device, ":/")
			if !ok || host == "" {
				return "", nil, fail(ErrBadOption, "%s: no server in %q: give o=addr=HOST", f.kind, f.device)
			}
			w = append(w[:len(w):len(w)], "addr="+strings.Trim(host, "[]"))
		}
		w, err = w.resolved(ctx)
		return f.device, w, err
	case "cifs", "smb3":
		if f.words.value("addr") != "" {
			w, err = f.words.resolved(ctx)
			return f.device, w, err
		}
		u, err := url.Parse(f.device)
		switch {
		case err != nil || u.Host == "":
			return "", nil, fail(ErrBadOption, "%s: no server in the device: want //HOST/SHARE", f.kind)
		case u.Port() != "":
			return "", nil, fail(ErrBadOption, "port not allowed in CIFS device URL, include 'port' in 'o='")
		}
		if net.ParseIP(u.Hostname()) == nil {
			if u.Host, err = lookup(ctx, u.Host); err != nil {
				return "", nil, err
			}
		}
		return u.String(), f.words, nil
	}
	return f.device, f.words, nil
}

// hasHelper tells whether mount(8) has to do it: what it does for nfs and cifs,
// address does too, and without showing the password to ps(1).
func (f filesystem) hasHelper() bool {
	switch f.kind {
	case "nfs", "nfs4", "cifs", "smb3":
		return false
	}
	if f.kind == "" || strings.HasPrefix(f.kind, "fuse.") || strings.HasPrefix(f.kind, "fuse3.") {
		return true
	}
	_, err := os.Stat(filepath.Join("/sbin", "mount."+f.kind))
	return err == nil && !strings.ContainsRune(f.kind, '/')
}

// exec is mount(8), which knows the helpers. It has no terminal that a helper
// could ask for a password on, and ends with everything it started.
func (f filesystem) exec(ctx context.Context, device string, w words) error {
	var args []string
	if f.kind != "" {
		args = append(args, "-t", f.kind)
	}
	if len(w) > 0 {
		args = append(args, "-o", strings.Join(w, ","))
	}
	cmd := exec.CommandContext(ctx, "mount", append(args, "--", device, f.data())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the file system's server kept our pipe
	}
	if _, mounted, mountErr := mountAt(f.data()); err == nil && mountErr == nil && !mounted {
		err = errors.New("it said nothing and mounted nothing")
	}
	if err == nil {
		return nil
	}
	why := strings.Join(strings.Fields(strings.ReplaceAll(string(out), "\n", " ")), " ")
	return fmt.Errorf("mount %s: %w: %s", hideIn(hideUser(strings.Join(args, " ")+" "+device), f.words), err, hideIn(why, f.words))
}

func (f filesystem) Unmount(ctx context.Context, _ string, last bool) error {
	if !last {
		return nil
	}
	return f.unmount(ctx)
}

func (f filesystem) unmount(ctx context.Context) error {
	// What has just been closed, as by a union that ended, may keep it busy for a moment.
	patience := time.Now().Add(patienceBusy)
	for { // a crash between two processes may have stacked mounts
		m, mounted, err := mountAt(f.data())
		if err != nil || !mounted {
			return err
		}
		err = within(ctx, func(ctx context.Context) error { return sys.Unmount(f.data(), !alive(ctx, m)) })
		switch {
		case err == sys.EBUSY && time.Now().Before(patience) && ctx.Err() == nil:
			time.Sleep(20 * time.Millisecond)
		case err == sys.EBUSY:
			return fail(ErrInUse, "volume has active mounts: %s is in use: see fuser -vm %s", f.data(), f.data())
		case err == sys.EPERM:
			return fail(ErrUnsupported, "unmount %s: %w: it takes the user who mounted it", f.data(), err)
		case err != nil:
			return fmt.Errorf("unmount %s: %w", f.data(), err)
		}
	}
}

// Sweep unmounts what a killed process left mounted as the data of a volume that was
// never finished, whatever it was to be.
func Sweep(ctx context.Context, dir string) error {
	return filesystem{Volume: Volume{Dir: dir}}.unmount(ctx)
}

func (f filesystem) Inspect(context.Context) (State, error) {
	_, mounted, err := mountAt(f.data())
	return State{Mountpoint: f.data(), Scope: "local", Status: map[string]any{"Mounted": mounted}}, err
}
