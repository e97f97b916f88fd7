package transport

import (
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// giveWay has a ring's thread give way to its client while that asks in quick succession.
//
// The client is woken while the thread that answers it still has the processor. So the kernel looks for an idle one, and
// waking that may take longer than the request (in a virtual machine 35 us: an interrupt to a processor that was halted).
// The next request comes from there, and the one after it from here again. A processor that runs nothing but SCHED_IDLE
// counts as idle (sched_idle_cpu in select_idle_sibling): the client stays, and takes the processor at once.
//
// Where others want the processor too, a thread of SCHED_IDLE may have to wait for it, some milliseconds. So it is one only
// after many requests each of which came soon after the last, and no longer once two of few came late while others wanted to
// run: one may have been the client's own affair, or the host's. The next time it takes more of them, if this one was short.
type giveWay struct {
	set    func(policy uint32) error // of the calling thread; nil: this isn't for us
	others func() bool               // somebody else wants to run
	on     bool
	streak int // requests in quick succession; once on, all since
	late   int // falls with each request, and rises by few with one that came late
	needed int
}

const (
	quickly    = 300 * time.Microsecond // a request, and two halted processors
	few        = 16
	fewNeeded  = 64
	mostNeeded = 64 << 7
)

// newGiveWay finds out, on a thread that ends with it, whether a thread may leave SCHED_IDLE again: an
// unprivileged one may not (sched_setscheduler(2)). Where somebody has chosen another policy, that stays.
func newGiveWay() giveWay {
	g := giveWay{needed: fewNeeded, others: othersRun}
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked
		attr, err := unix.SchedGetAttr(0, 0)
		done <- err == nil && attr.Policy == unix.SCHED_NORMAL && setPolicy(unix.SCHED_IDLE) == nil && setPolicy(unix.SCHED_NORMAL) == nil
	}()
	if <-done {
		g.set = setPolicy
	}
	return g
}

// woken is called each time the thread has waited for requests, and for nothing else.
func (g *giveWay) woken(after time.Duration) {
	quick := after < quickly
	switch {
	case g.set == nil:
	case g.on:
		g.streak++
		g.late = max(0, g.late-1)
		if quick || !g.others() {
			return
		}
		if g.late += few; g.late > few {
			g.needed = nextNeeded(g.needed, g.streak)
			g.streak, g.late, g.on = 0, 0, g.set(unix.SCHED_NORMAL) != nil
		}
	case quick:
		g.streak++
		g.on = g.streak >= g.needed && g.set(unix.SCHED_IDLE) == nil
	default:
		g.streak = 0
	}
}

// nextNeeded is how many requests are needed for the next time, when this one lasted for streak of them.
func nextNeeded(needed, streak int) int {
	if streak > 4*needed {
		return fewNeeded
	}
	return min(2*needed, mostNeeded)
}

// othersRun tells whether more than the calling thread is running, or would be if it had a processor (proc_loadavg(5)).
// It takes two microseconds.
func othersRun() bool {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return true // as long as nobody knows
	}
	fields := strings.Fields(string(text))
	return len(fields) < 4 || !strings.HasPrefix(fields[3], "1/")
}

// setPolicy sets the scheduling policy of the calling thread, and leaves its nice value.
func setPolicy(policy uint32) error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return err
	}
	if policy == unix.SCHED_IDLE {
		if err := keepIOPriority(attr.Nice); err != nil {
			return err
		}
	}
	attr.Policy = policy
	return unix.SchedSetAttr(0, attr, 0)
}

// keepIOPriority has the calling thread keep the priority at the disk that it has now. As long as nobody has set one it
// follows policy and nice value (task_nice_ioclass), and the reads of a SCHED_IDLE thread would wait for everybody's.
func keepIOPriority(nice int32) error {
	const thisThread, classShift, bestEffort = 1, 13, 2 // IOPRIO_WHO_PROCESS, of 0
	now, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, thisThread, 0, 0)
	if errno == 0 && now>>classShift == 0 {
		now = bestEffort<<classShift | uintptr(nice+20)/5
		_, _, errno = unix.RawSyscall(unix.SYS_IOPRIO_SET, thisThread, 0, now)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
