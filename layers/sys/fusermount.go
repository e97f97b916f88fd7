package sys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Fusermount mounts at target through the setuid helper fusermount3(1), for whom
// mount(2) is not allowed, and returns the connection's descriptor. It says on
// our stderr why it refuses. Commas and backslashes in options are escaped here.
func Fusermount(target string, options []string) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair(2): %w", err)
	}
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "fusermount")
	defer unix.Close(ours)
	escape := strings.NewReplacer(`\`, `\\`, ",", `\,`)
	var words []string
	for _, o := range options {
		words = append(words, escape.Replace(o))
	}
	cmd := exec.Command(fusermountPath(), "-o", strings.Join(words, ","), "--", target)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	err = errors.Join(cmd.Run(), theirs.Close())
	if err != nil {
		return -1, fmt.Errorf("fusermount3: %w", err)
	}
	return receive(ours)
}

// fusermountPath finds the helper, also where PATH is empty.
func fusermountPath() string {
	if path, err := exec.LookPath("fusermount3"); err == nil {
		return path
	}
	return "/bin/fusermount3"
}

// receive takes the descriptor that comes over a socket.
func receive(socket int) (int, error) {
	room := make([]byte, unix.CmsgSpace(4))
	n, err := 0, error(nil)
	err = retry(func() (err error) {
		_, n, _, _, err = unix.Recvmsg(socket, make([]byte, 4), room, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("fusermount3: no descriptor came: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(room[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("fusermount3: %d control messages came, want 1; %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("fusermount3: %d descriptors came, want 1; %w", len(fds), err)
	}
	return fds[0], nil
}
