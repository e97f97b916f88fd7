package suite

import (
	"time"

	"golang.org/x/sys/unix"
)

// Unmount unmounts what a test has used. A program that another test starts at
// the same time has this process's open files too until it execs: for that long
// the mount is busy, and Unmount waits, a few seconds at most.
func Unmount(target string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Unmount(target, 0); err != unix.EBUSY || time.Now().After(end) {
			return err
		}
	}
}
