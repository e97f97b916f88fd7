package bench

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// uringSwitch is the kernel's switch for FUSE over io_uring. It counts when a mount begins, so that in one
// run some peers can have it and others not; and it is the whole system's, so it is put back.
const uringSwitch = "/sys/module/fuse/parameters/enable_uring"

func uringEnabled() bool {
	text, err := os.ReadFile(uringSwitch)
	return err == nil && strings.HasPrefix(string(text), "Y")
}

// setUring turns FUSE over io_uring on or off for mounts made from now on. It
// returns what puts it back.
func setUring(on bool) (undo func() error, err error) {
	was, err := os.ReadFile(uringSwitch)
	if err != nil {
		return nil, fmt.Errorf("enable FUSE over io_uring: %w (Linux 6.14 or later with CONFIG_FUSE_IO_URING has it; measure without --io-uring)", err)
	}
	word := "N"
	if on {
		word = "Y"
	}
	if err := os.WriteFile(uringSwitch, []byte(word), 0); err != nil {
		return nil, fmt.Errorf("enable FUSE over io_uring: %w", err)
	}
	return func() error { return os.WriteFile(uringSwitch, was, 0) }, nil
}

// mount mounts a peer, with the switch as the peer wants it if the run may turn it. Something else may turn it in
// the same moment, as this project's own tests do.
func (r *runner) mount(p peer, s *site) error {
	const tries = 5
	for range tries {
		if r.Uring {
			if _, err := setUring(!p.device); err != nil {
				return err
			}
		}
		if err := p.mount(s); err != nil || !p.ours {
			return err
		}
		by := s.transport()
		if !p.device || by != "io_uring" {
			r.arrived(p, by)
			return nil
		}
		if err := p.unmount(s); err != nil {
			return err
		}
	}
	return errors.New("its requests arrive by io_uring each time: something else turns " + uringSwitch)
}

func (r *runner) arrived(p peer, by string) {
	for i := range r.result.Peers {
		if r.result.Peers[i].Name == p.name {
			r.result.Peers[i].arrived(by)
		}
	}
}

// arrived notes how requests reached a mount of the peer: all its mounts have one way, unless something else
// turns the switch too.
func (p *Peer) arrived(by string) {
	switch {
	case by == "" || slices.Contains(strings.Split(p.Transport, ", "), by):
	case p.Transport == "":
		p.Transport = by
	default:
		p.Transport += ", " + by
	}
}

var transportWord = regexp.MustCompile(`transport"?[=:]"?(\w+)`)

// transport is how requests reach the site's daemon, as its log tells; "" if it doesn't.
func (s *site) transport() string {
	text, _ := os.ReadFile(s.root + "/log/bench.log")
	if m := transportWord.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// withoutUring is why a peer with requests by /dev/fuse is no peer of its own.
func withoutUring(c Config) string {
	if c.Uring {
		return ""
	}
	return "nothing turns io_uring on and off here: ask for --io-uring"
}
