package unionfs_test

import (
	"os"
	"strings"
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

// need switches FUSE over io_uring on for the time of a test that uses it.
func (c connection) need(t *testing.T) {
	t.Helper()
	const param = "/sys/module/fuse/parameters/enable_uring"
	if !c.ring {
		return
	}
	old, err := os.ReadFile(param)
	if err != nil {
		suite.Absent(t, "needs FUSE over io_uring: Linux 6.14 or later with CONFIG_FUSE_IO_URING")
	}
	if strings.TrimSpace(string(old)) == "Y" {
		return
	}
	if err := os.WriteFile(param, []byte("Y"), 0); err != nil {
		suite.Absent(t, "needs root to switch FUSE over io_uring on: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.WriteFile(param, old, 0); err != nil {
			t.Error(err)
		}
	})
}
