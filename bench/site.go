package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// plainUser is who runs the lines "as a plain user".
const plainUser = 1000

// site is one fresh place for one peer in one round: nothing of the rounds before is left.
type site struct {
	dir    string
	binary string   // the unionmount that is measured
	lowers []string // topmost first
	flat   string   // a plain copy of the layers, this site's own if the scenario changes it
	uid    int      // of the client

	upper, work, merged, root string
	view                      string // where the client works
}

func newSite(dir, binary string, uid int) (*site, error) {
	s := &site{dir: dir, binary: binary, uid: uid,
		upper: dir + "/upper", work: dir + "/work", merged: dir + "/merged", root: dir + "/root"}
	for _, d := range []string{dir, s.upper, s.work, s.merged, s.root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(d, uid, uid); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// spread asks ext4 to lay each directory in dir into a block group of its own. In the group of
// another's it looks, for each file it makes, at all inodes that were freed there during the
// last minute or five (recently_deleted): thrice the price of the file, for what the peer before has removed.
func spread(dir string) error {
	const (
		getFlags, setFlags = 0x80086601, 0x40086602 // FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
		topDir             = 0x20000                // FS_TOPDIR_FL, chattr +T
	)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetInt(fd, getFlags)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, setFlags, flags|topDir)
	}
	if err == unix.ENOTTY || err == unix.EOPNOTSUPP {
		return nil // not ext4
	}
	if err != nil {
		return fmt.Errorf("spread the directories of %s: %w", dir, err)
	}
	return nil
}

// remove takes the site away; what is mounted must be gone.
func (s *site) remove() error { return os.RemoveAll(s.dir) }

// detach takes away what a mount or unmount that failed has left: nothing below a mount may be removed with the site.
func (s *site) detach() error {
	for {
		switch err := unix.Unmount(s.merged, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err {
		case nil:
		case unix.EINVAL:
			return nil // nothing is mounted
		default:
			return fmt.Errorf("detach %s: %w; umount -l takes it away", s.merged, err)
		}
	}
}

// forceAfter has a mount that hangs answer with an error a while after ctx ended, so that a killed client can go.
// The turn calls what it returns when it is over.
func (s *site) forceAfter(ctx context.Context) (over func()) {
	const grace = 5 * time.Second
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		select {
		case <-done:
		case <-time.After(grace):
			unix.Unmount(s.merged, unix.MNT_FORCE)
		}
	}()
	return func() { close(done) }
}

// patience is how long a peer may take to mount or unmount.
const patience = time.Minute

// run runs a command as root, or as uid; its output is in the error if it fails.
func (s *site) run(uid int, name string, args ...string) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	cmd.Dir = filepath.Dir(s.lowers[0])
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(uid)}
		cmd.Env = append(os.Environ(), "HOME="+s.dir, "USER=bench")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return commandError(name, err, out)
	}
	return nil
}

func credential(uid int) *syscall.Credential {
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
}

// lowerdir is the stack as overlayfs takes it, relative to where commands run: mount(2) takes a page of options.
func (s *site) lowerdir() string {
	names := make([]string, len(s.lowers))
	for i, l := range s.lowers {
		names[i] = filepath.Base(l)
	}
	return strings.Join(names, ":")
}

// unionmount runs the binary under this site's root.
func (s *site) unionmount(uid int, args ...string) error {
	return s.run(uid, s.binary, append([]string{"--root", s.root}, args...)...)
}

// output asks the binary under this site's root something.
func (s *site) output(args ...string) (string, error) {
	out, err := exec.Command(s.binary, append([]string{"--root", s.root}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// settle writes what is dirty, so that nobody pays for another's writes.
func settle(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(fd), unix.Close(fd))
}

// dropCaches makes the next read a cold one: pages, names and inodes are forgotten.
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// copyTree copies a plain tree with all it has, sharing blocks where it can.
func copyTree(from, to string) error {
	out, err := exec.Command("cp", "-a", "--reflink=auto", from+"/.", to).CombinedOutput()
	if err != nil {
		return commandError("copy "+from, err, out)
	}
	return nil
}

// device tells the number by which tracing names the connection of a mount. The
// mount table has it: root may not look into a plain user's mount.
func device(mountpoint string) (uint64, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		var major, minor uint64
		if len(f) < 5 || f[4] != mountpoint {
			continue
		}
		_, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor)
		return major<<20 | minor, err // the kernel's own dev_t
	}
	return 0, fmt.Errorf("%s is not mounted", mountpoint)
}

func uidWord(uid int) string { return strconv.Itoa(uid) }

// executable finds a program, and says which is missing.
func executable(names ...string) string {
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			return n + " is not installed"
		}
	}
	return ""
}

func abs(p string) string {
	a, err := filepath.Abs(p)
	if err != nil {
		return p
	}
	return a
}
