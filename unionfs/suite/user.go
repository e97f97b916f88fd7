package suite

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// AsUser runs f, which must start no goroutine that opens files, with the rights of
// a plain user: on a thread of its own, which ends with it. It takes root.
func AsUser(t testing.TB, id int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		Absent(t, "only root becomes another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		n := uintptr(id)
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, n, n, n}, {unix.SYS_SETRESUID, n, n, n}} {
			// The raw call changes this thread alone; package syscall's changes all.
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- errno
				return
			}
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatalf("become user %d: %v", id, err)
	}
}
