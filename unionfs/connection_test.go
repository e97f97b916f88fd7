package unionfs_test

import (
	"os"
	"sync"
	"testing"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// connection is one way for a union to talk to the kernel: a contract and a transport.
type connection struct {
	io   unionfs.IO
	ring bool
	held bool // the kernel holds back what is written
}

// connections are those that every suite runs on.
func connections() []connection {
	c := []connection{{io: unionfs.IOCached, held: true}, {io: unionfs.IOOpen}, {io: unionfs.IOCached, ring: true}}
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		c = append(c, connection{io: unionfs.IOOpen, ring: true}, connection{io: unionfs.IOCached}, connection{io: unionfs.IOCached, ring: true, held: true})
	}
	return c
}

func (c connection) String() string {
	name := string(c.io)
	if c.ring {
		name += "-io_uring"
	}
	if c.held {
		name += "-writeback"
	}
	return name
}

func (c connection) config(cfg unionfs.Config) unionfs.Config {
	cfg.IO, cfg.NoRing, cfg.Writeback = c.io, !c.ring, c.held
	return cfg
}

// ringSwitch is FUSE over io_uring's, on while a test needs it: those of several worlds run side by side.
var ringSwitch struct {
	sync.Mutex
	users int
	old   []byte
}

// need switches FUSE over io_uring on for the time of a test that uses it.
func (c connection) need(t *testing.T) {
	t.Helper()
	if !c.ring {
		return
	}
	if err := useRing(1); err != nil {
		suite.Absent(t, "needs FUSE over io_uring (Linux 6.14 or later with CONFIG_FUSE_IO_URING), and root to switch it on: "+err.Error())
	}
	t.Cleanup(func() {
		if err := useRing(-1); err != nil {
			t.Error(err)
		}
	})
}

// useRing counts a user more or less of the switch, which is put back after the last.
func useRing(users int) error {
	const param = "/sys/module/fuse/parameters/enable_uring"
	s := &ringSwitch
	s.Lock()
	defer s.Unlock()
	var err error
	switch {
	case users < 0 && s.users == 1:
		err = os.WriteFile(param, s.old, 0)
	case users > 0 && s.users == 0:
		if s.old, err = os.ReadFile(param); err == nil {
			err = os.WriteFile(param, []byte("Y"), 0)
		}
	}
	if err == nil {
		s.users += users
	}
	return err
}
