package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childMain is what a process started by child does. It prints "ready" once it
// has done its part and then waits for the end of its input.
func childMain(action string, args []string) int {
	var err error
	switch action {
	case "append": // FILE LINES MARK
		err = childAppend(args[0], args[1], args[2])
		if err == nil {
			return 0
		}
	case "flock": // FILE
		err = childLock(args[0], func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	case "posix":
		err = childLock(args[0], func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 10})
		})
	case "ofd":
		err = childLock(args[0], func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 10})
		})
	default:
		err = fmt.Errorf("unknown action %q", action)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childAppend(path, lines, mark string) error {
	n, err := strconv.Atoi(lines)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := fmt.Fprintf(f, "%s %06d\n", mark, i); err != nil {
			return err
		}
	}
	return f.Close()
}

func childLock(path string, lock func(fd int) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lock(int(f.Fd())); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// child prepares a process of this test binary.
func child(t *testing.T, action string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, suite.self, args...)
	cmd.Env = append(os.Environ(), "UNIONMOUNT_TEST_CHILD="+action)
	return cmd
}

// holding starts a child that holds something until the returned function is called.
func holding(t *testing.T, action string, args ...string) (release func()) {
	t.Helper()
	return holdingBy(t, child(t, action, args...))
}

// holdingBy is holding, with a child that is prepared.
func holdingBy(t *testing.T, cmd *exec.Cmd) (release func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	released := false
	release = func() {
		if !released {
			released = true
			in.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(release)
	buf := make([]byte, 6)
	if _, err := io.ReadFull(out, buf); err != nil {
		t.Fatalf("child %v was not ready: %v", cmd.Args[1:], err)
	}
	return release
}

// asUser calls do on a thread with a plain user's file system identity and none of root's capabilities.
func asUser(t *testing.T, uid, gid int, groups []int, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its identity
		list := make([]uint32, len(groups)+1)
		for i, g := range groups {
			list[i] = uint32(g)
		}
		if err := setThread(uid, gid, list[:len(groups)]); err != nil {
			done <- err
			return
		}
		do()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// setThread changes this thread alone; the package's functions would change every thread.
func setThread(uid, gid int, groups []uint32) error {
	var first *uint32
	if len(groups) > 0 {
		first = &groups[0]
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(first)), 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	return nil
}
