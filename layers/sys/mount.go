package sys

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ENOTCONN is what a mount answers whose server has died.
const ENOTCONN = unix.ENOTCONN

// Mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID, Parent int
	Dev        string // major:minor of st_dev
	Root       string // of the file system, that is mounted
	Target     string
	Type       string
	Source     string
	Super      string // options of the super block, still escaped
}

// ParseMounts reads the form of /proc/self/mountinfo; a line that isn't of it is left out.
func ParseMounts(r io.Reader) ([]Mount, error) {
	var out []Mount
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if m, ok := parseMount(sc.Text()); ok {
			out = append(out, m)
		}
	}
	return out, sc.Err()
}

func parseMount(line string) (m Mount, ok bool) {
	head, tail, found := strings.Cut(line, " - ")
	f, g := strings.Fields(head), strings.Fields(tail)
	if !found || len(f) < 6 || len(g) < 2 {
		return m, false
	}
	m.ID, _ = strconv.Atoi(f[0])
	m.Parent, _ = strconv.Atoi(f[1])
	m.Dev, m.Root, m.Target = f[2], UnescapeMount(f[3]), UnescapeMount(f[4])
	m.Type, m.Source = g[0], UnescapeMount(g[1])
	if len(g) > 2 {
		m.Super = g[2]
	}
	return m, true
}

// UnescapeMount undoes the kernel's \ooo.
func UnescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// BindInto binds source, a directory or file, over the path target below the
// directory root, as if root were "/": no link leads out of it. It returns the
// new mount's id. Read-only holds for the mounts below source too. Needs CAP_SYS_ADMIN.
func BindInto(root int, target, source string, readOnly bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(root, target, &how)
	if err != nil {
		return 0, err
	}
	defer unix.Close(at)
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return 0, err
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if readOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return 0, err
	}
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return 0, err
	}
	return MountID(tree)
}

// MountID tells the id of the mount that fd is in.
func MountID(fd int) (int, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	return int(st.Mnt_id), nil
}

// Unmount is umount2(2), not following a link at target; lazy detaches at once and ends when nobody uses it.
func Unmount(target string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	return unix.Unmount(target, flags)
}

// Answers asks the server of the file system at path, which caches of names and
// attributes don't: ENOTCONN if it is dead.
func Answers(path string) error {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Statfs(path, &st) })
	if err == unix.ECONNABORTED { // it died while it was asked
		err = retry(func() error { return unix.Statfs(path, &st) })
	}
	return err
}

// KeepFromChildren marks every descriptor from first on close-on-exec: also those
// that our caller left open for us, which no child shall keep.
func KeepFromChildren(first int) error {
	return unix.CloseRange(uint(first), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
}

// IsTerminal tells whether fd is a terminal.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
