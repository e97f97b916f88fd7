package main_test

import (
	"strings"
	"testing"
)

// TestVolumeLocks: locks between the host, two mounts and processes.
func TestVolumeLocks(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "vol:/v")
		second := s.dir + "/second"
		mkdir(t, second)
		s.must("mount", "--name", "second", "--volume-io", way, "-v", "vol:/v", s.lowers[0], second)
		write(t, s.data("vol", "f"), strings.Repeat("x", 100))
		for _, kind := range []string{"flock", "posix", "ofd"} {
			release := holding(t, kind, s.in("v/f"))
			for _, side := range []string{second + "/v/f", s.data("vol", "f")} {
				if r := finish(child(t, kind, side)); r.code == 0 {
					t.Errorf("%s: %s was locked while %s holds the lock", kind, side, s.in("v/f"))
				}
			}
			release()
			// FUSE tells the daemon of a closed OFD or flock lock's end after close has returned.
			eventually(t, kind+" is free again", func() bool { return finish(child(t, kind, second+"/v/f")).code == 0 })
		}
	})
}
