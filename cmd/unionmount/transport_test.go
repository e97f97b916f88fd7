package main_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// uringSwitch sets the kernel's switch for FUSE over io_uring for the time of a test.
func uringSwitch(t *testing.T, to string) {
	t.Helper()
	const param = "/sys/module/fuse/parameters/enable_uring"
	old, err := os.ReadFile(param)
	if err != nil {
		absent(t, "needs FUSE over io_uring: Linux 6.14 or later with CONFIG_FUSE_IO_URING")
	}
	must(t, os.WriteFile(param, []byte(to), 0))
	t.Cleanup(func() { must(t, os.WriteFile(param, old, 0)) })
}

// transport is how requests reach the site's mount, as its daemon says.
func (s *site) transport() string {
	s.t.Helper()
	text, err := os.ReadFile(s.root + "/run/" + s.name + ".json")
	must(s.t, err)
	var state struct{ Transport string }
	must(s.t, json.Unmarshal(text, &state))
	return state.Transport
}

// TestTransport: a mount takes io_uring where the kernel has it switched on, but
// not with a routed volume, whose locks it forwards; info names the switch.
func TestTransport(t *testing.T) {
	for _, c := range []struct {
		on, want string
		flags    []string
	}{
		{"Y", "io_uring", nil},
		{"Y", "io_uring", []string{"--io", "open"}},
		{"Y", "device", []string{"-v", "data:/vol", "--volume-io", "fuse"}},
		{"N", "device", nil},
	} {
		t.Run(c.on+" "+strings.Join(c.flags, " "), func(t *testing.T) {
			uringSwitch(t, c.on)
			s := small(t)
			s.mount(c.flags...)
			if got := s.transport(); got != c.want {
				t.Errorf("requests arrive by %s, want %s", got, c.want)
			}
			write(t, s.in("new"), "data\n")
			wantContent(t, s.in("new"), "data\n")
			s.umount()
			fact := map[string]string{"Y": "yes", "N": "off"}[c.on]
			var info map[string]struct{ Value, Remedy string }
			must(t, json.Unmarshal([]byte(s.must("info", "--format", "json")), &info))
			if got := info["KernelUring"]; got.Value != fact || (got.Value == "off") != strings.Contains(got.Remedy, "enable_uring") {
				t.Errorf("info: KernelUring %+v, want %s", got, fact)
			}
		})
	}
}
