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

// TestDiskPace: the disk is polled for where that is quicker, and tried both ways again and again.
func TestDiskPace(t *testing.T) {
	var p diskPace
	polls := func(waits int, polled, slept time.Duration) (n int) {
		for i := range waits {
			way, d := p.polls(), slept
			if way {
				n++
				d = polled
			}
			if i%50 == 49 { // one wait that says nothing of the others
				d *= 100
			}
			p.took(way, d)
		}
		return n
	}
	const turns = 8 * paceTurn
	for _, c := range []struct {
		name          string
		polled, slept time.Duration
		pays          bool
	}{
		{"quick", 60 * time.Microsecond, 100 * time.Microsecond, true},
		{"slow", 5 * time.Millisecond, 5 * time.Millisecond, false},
		{"interrupted here", 120 * time.Microsecond, 60 * time.Microsecond, false},
		{"hardly quicker", 96 * time.Microsecond, 100 * time.Microsecond, false},
		{"quick again", 60 * time.Microsecond, 100 * time.Microsecond, true},
	} {
		polls(turns, c.polled, c.slept) // to learn it
		n := polls(turns, c.polled, c.slept)
		if c.pays {
			n = turns - n
		}
		if n < 8 || n > turns/16 {
			t.Errorf("%s: %d of %d waits went the other way", c.name, n, turns)
		}
	}
}
