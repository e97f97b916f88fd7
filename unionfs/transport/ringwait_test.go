package transport

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestWaitForTheDisk: a thread that gives way polls for what is away, and one that doesn't, or waits for clients, sleeps.
func TestWaitForTheDisk(t *testing.T) {
	r, err := newRing(4)
	if err != nil {
		suite.Absent(t, "needs io_uring: "+err.Error())
	}
	_ = r.close()
	for _, c := range []struct {
		name  string
		gives bool
		away  int
		after time.Duration // until the answer comes
		sleep bool
	}{
		{"gives way", true, 1, diskPatience / 10, false},
		{"gives way, and the disk is slow", true, 1, 20 * diskPatience, true},
		{"doesn't give way", false, 1, diskPatience / 10, true},
		{"waits for clients", true, 0, diskPatience / 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const tries = 40
			slept := make(chan int)
			go func() { // a ring belongs to the thread that enabled it
				n := 0
				for range tries {
					if sleepsInWait(t, c.gives, c.away, c.after) > 0 {
						n++
					}
				}
				slept <- n
			}()
			if n := <-slept; (n > tries/2) != c.sleep { // now and then something else has the processor
				t.Errorf("the thread slept in %d waits of %d", n, tries)
			}
		})
	}
}

// sleepsInWait counts how often a thread that waits in a ring for what comes after a time goes to sleep.
func sleepsInWait(t *testing.T, gives bool, away int, after time.Duration) int64 {
	const opTimeout = 11 // IORING_OP_TIMEOUT: the kernel's own clock, for Go's timers may take a millisecond
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := newRing(4)
	if err == nil {
		err = r.enable()
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	defer r.close()
	ts := unix.NsecToTimespec(after.Nanoseconds())
	s := r.next()
	s.opcode, s.fd, s.addr, s.len = opTimeout, -1, uint64(uintptr(unsafe.Pointer(&ts))), 1
	w := &worker{ring: r, away: away, gives: giveWay{on: gives}}
	var before, later unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &before)
	for !r.pending() {
		if err := w.wait(); err != nil {
			t.Error(err)
			return 0
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &later)
	runtime.KeepAlive(&ts)
	return later.Nvcsw - before.Nvcsw
}

// TestDiskPace: a slow disk is polled for less often, until it was quick again.
func TestDiskPace(t *testing.T) {
	var p diskPace
	polls := func(waits int, answered bool) (n int) {
		for range waits {
			if !p.worth() {
				continue
			}
			n++
			if answered {
				p.hit()
			} else {
				p.miss()
			}
		}
		return n
	}
	if n := polls(fewMisses, false); n != fewMisses {
		t.Errorf("%d of the first %d waits were polled", n, fewMisses)
	}
	if n := polls(1000, false); n < 5 || n > 20 {
		t.Errorf("%d of 1000 waits for a slow disk were polled", n)
	}
	polls(2<<rarest, true)
	if n := polls(100, true); n != 100 {
		t.Errorf("%d of 100 waits for a quick disk were polled", n)
	}
}
