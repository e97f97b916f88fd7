package transport

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRatio compares the ways in one run: they take turns, a hundred calls
// each, and every way's figures are the median of its calls (p50), the slow ones
// (p90), and what the server ran for each: that says something on a busy machine too.
func BenchmarkRatio(b *testing.B) {
	type side struct {
		way  string
		m    string
		fd   int
		took []time.Duration
		pid  int
		ran  time.Duration
	}
	var sides []*side
	for _, way := range ways(b) {
		m, pid := peer(b, way)
		fd, err := unix.Open(m+"/file", unix.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		sides = append(sides, &side{way: way, m: m, fd: fd, pid: pid})
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var st unix.Stat_t
	buf := make([]byte, plainSize)
	for _, c := range []struct {
		name string
		call func(*side)
	}{
		{"lookup", func(s *side) { _ = unix.Stat(s.m+"/none", &st) }},
		{"getattr", func(s *side) { _ = unix.Fstat(s.fd, &st) }},
		{"read4k", func(s *side) { _, _ = unix.Pread(s.fd, buf[:4096], 0) }},
		{"write4k", func(s *side) { _, _ = unix.Pwrite(s.fd, buf[:4096], 0) }},
		{"read1m", func(s *side) { _, _ = unix.Pread(s.fd, buf, 0) }},
		{"write1m", func(s *side) { _, _ = unix.Pwrite(s.fd, buf, 0) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for _, s := range sides {
				s.took, s.ran = s.took[:0], 0
			}
			for range b.N {
				for _, s := range sides {
					s.ran -= cpuTime(b, s.pid)
					for range 100 {
						start := time.Now()
						c.call(s)
						s.took = append(s.took, time.Since(start))
					}
					s.ran += cpuTime(b, s.pid)
				}
			}
			for _, s := range sides {
				slices.Sort(s.took)
				b.ReportMetric(float64(s.took[len(s.took)/2])/1e3, "us-p50-"+s.way)
				b.ReportMetric(float64(s.took[len(s.took)*9/10])/1e3, "us-p90-"+s.way)
				b.ReportMetric(float64(s.ran)/1e3/float64(len(s.took)), "us-cpu-"+s.way)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
