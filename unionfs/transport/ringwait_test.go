package transport

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaitForTheDisk: a thread that gives way polls for what is away, and one that doesn't, or waits for clients, sleeps.
func TestWaitForTheDisk(t *testing.T) {
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
			done := make(chan int64)
			go func() { // a ring belongs to the thread that enabled it
				var slept int64
				for range 50 { // now and then something else has the processor
					if slept = sleepsInWait(t, c.gives, c.away, c.after); (slept > 0) == c.sleep {
						break
					}
				}
				done <- slept
			}()
			if slept := <-done; (slept > 0) != c.sleep {
				t.Errorf("the thread slept %d times", slept)
			}
		})
	}
}

// sleepsInWait counts how often a thread that waits in a ring for a pipe goes to sleep.
func sleepsInWait(t *testing.T, gives bool, away int, after time.Duration) int64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := newRing(4)
	if err == nil {
		err = r.enable()
	}
	var pipe [2]int
	if err == nil {
		err = unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = r.close(); unix.Close(pipe[0]); unix.Close(pipe[1]) }()
	var b [1]byte
	s := r.next()
	s.opcode, s.fd, s.addr, s.len = opRingRead, int32(pipe[0]), uint64(uintptr(ptr(b[:]))), 1
	q := &queue{ring: r, away: away, gives: giveWay{on: gives}}
	answer := time.AfterFunc(after, func() { _, _ = unix.Write(pipe[1], b[:]) })
	defer answer.Stop()
	var before, later unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &before)
	for !r.pending() {
		if err := q.wait(); err != nil {
			t.Error(err)
			return 0
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &later)
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
