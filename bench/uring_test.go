package bench

import (
	"strings"
	"testing"
)

// TestDevicePeers: with io_uring enabled each contract has a column without; else the column is left out and named.
func TestDevicePeers(t *testing.T) {
	for _, uring := range []bool{false, true} {
		r := &runner{Config: Config{Uring: uring, Users: true}, result: &Result{}}
		r.Log = func(string, ...any) {}
		if err := r.choosePeers(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"cached-device", "open-device", "user-device"} {
			seen := false
			for _, p := range r.result.Peers {
				if p.Name == want {
					seen = true
					if refused := strings.Contains(p.Missing, "--io-uring"); refused == uring {
						t.Errorf("%s, io_uring %v: missing %q", want, uring, p.Missing)
					}
				}
			}
			if !seen {
				t.Errorf("%s is no peer", want)
			}
		}
	}
}

func TestArrived(t *testing.T) {
	var p Peer
	for _, by := range []string{"io_uring", "", "io_uring", "device", "device"} {
		p.arrived(by)
	}
	if p.Transport != "io_uring, device" {
		t.Errorf("%q", p.Transport)
	}
}
