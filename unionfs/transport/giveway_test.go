package transport

import (
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGiveWay: a thread gives way after many quick requests; no longer once two came late while others wanted to run,
// and after a short time of it not again as soon.
func TestGiveWay(t *testing.T) {
	var policy uint32
	busy := true
	g := giveWay{needed: fewNeeded, set: func(p uint32) error { policy = p; return nil }, others: func() bool { return busy }}
	ask := func(requests int, after time.Duration) {
		for range requests {
			g.woken(after)
		}
	}
	want := func(what string, p uint32) {
		t.Helper()
		if policy != p {
			t.Errorf("%s: the policy is %d, want %d", what, policy, p)
		}
	}
	ask(10*fewNeeded, 2*quickly)
	want("slow requests", unix.SCHED_NORMAL)
	ask(fewNeeded, quickly/10)
	want("a quick run", unix.SCHED_IDLE)
	busy = false
	ask(10, 2*quickly)
	want("slow requests when nobody else wants to run", unix.SCHED_IDLE)
	busy = true
	for range 3 {
		ask(1, 2*quickly)
		ask(few, quickly/10)
	}
	want("some slow requests beside others", unix.SCHED_IDLE)
	ask(2, 2*quickly)
	want("two at once", unix.SCHED_NORMAL)
	ask(fewNeeded, quickly/10)
	want("as many after a short time", unix.SCHED_NORMAL)
	ask(10*fewNeeded, quickly/10)
	want("more", unix.SCHED_IDLE)
	ask(2, 2*quickly)
	ask(fewNeeded, quickly/10)
	want("after a long time", unix.SCHED_IDLE)
	for range 20 {
		ask(2, 2*quickly)
		ask(g.needed, quickly/10)
	}
	if g.needed > mostNeeded {
		t.Errorf("%d requests are needed", g.needed)
	}
	g.set = nil
	ask(mostNeeded, quickly/10) // an unprivileged thread: nothing is to be called
}

// TestGiveWayForReal: the thread that answers one quick client is SCHED_IDLE meanwhile, and no other is; a pause ends
// it when somebody else wants to run.
func TestGiveWayForReal(t *testing.T) {
	switchRing(t)
	m, pid := peer(t, string(Ring))
	var st unix.Stat_t
	idle := 0
	for end := time.Now().Add(10 * time.Second); idle == 0 && time.Now().Before(end); {
		for range 20 * fewNeeded {
			_ = unix.Stat(m+"/none", &st)
		}
		idle = idleThreads(t, pid)
	}
	if idle == 0 {
		t.Error("no thread gives way")
	}
	var stop atomic.Bool
	defer stop.Store(true)
	for range runtime.NumCPU() {
		go func() {
			for !stop.Load() { // somebody else who wants to run
				continue
			}
		}()
	}
	cpus, err := processors("online")
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with its pinning
	await(t, "it ends by the next slow requests", func() bool {
		for _, cpu := range cpus { // each has a thread of its own
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			_ = unix.Stat(m+"/none", &st)
		}
		return idleThreads(t, pid) == 0
	})
}

// idleThreads counts the threads of a process whose policy is SCHED_IDLE (proc_pid_stat(5), field 41). Their priority at
// the disk is best effort all the same (ioprio_get(2)).
func idleThreads(t *testing.T, pid int) (n int) {
	t.Helper()
	for _, text := range ofThreads(t, pid, "stat") {
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if fields[41-3] != strconv.Itoa(unix.SCHED_IDLE) {
			continue
		}
		n++
		tid, err := strconv.Atoi(text[:strings.IndexByte(text, ' ')])
		if err != nil {
			t.Fatal(err)
		}
		if prio, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, 1, uintptr(tid), 0); errno == 0 && prio>>13 != 2 {
			t.Errorf("a thread that gives way has the disk's class %d", prio>>13)
		}
	}
	return n
}
