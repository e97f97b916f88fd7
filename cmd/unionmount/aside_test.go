package main_test

import "testing"

// aside is t.Run of a test that has a site of its own and measures nothing: it
// runs beside the others of its parent, never beside another test.
func aside(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

// contracts are what a mount may promise to the kernel (--io).
var contracts = []string{"cached", "open"}

// eachIO runs a test on both contracts with the kernel.
func eachIO(t *testing.T, test func(t *testing.T, io string)) {
	for _, io := range contracts {
		aside(t, io, func(t *testing.T) { test(t, io) })
	}
}

// eachIOInTurn is eachIO for a test that changes what all threads share, its umask,
// or that keeps all processors busy: two of these beside each other take longer.
func eachIOInTurn(t *testing.T, test func(t *testing.T, io string)) {
	for _, io := range contracts {
		t.Run(io, func(t *testing.T) { test(t, io) })
	}
}

// eachWay runs a test with both ways into a volume.
func eachWay(t *testing.T, test func(t *testing.T, way string)) {
	for _, way := range []string{"bind", "fuse"} {
		t.Run(way, func(t *testing.T) { test(t, way) })
	}
}
