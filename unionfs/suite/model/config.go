// Package model is the differential model: random operations, issued from several processes, on a union and on a
// plain copy of the same tree. Every answer, and at intervals the whole trees, must be equal; and each object must keep
// the inode number it once had in the union.
//
// Not compared, because it is the filesystem's own: inode numbers as such, st_dev (one value in the union), times
// that the kernel set during the run (all that are explicit are), size, blocks and link count of directories, where a
// file has holes (a hole must read as zeros), whether a file capability outlives a store to a mapping.
package model

import (
	"syscall"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// State is a union and its plain copy, equal at the start.
type State struct {
	Union, Plain string
	// Remount makes the union anew over the same layers and upper. Nil: it is never asked for.
	Remount func() error
	// Kill ends the union's server at once, Restart cleans up and mounts again. Only Crash needs them.
	Kill, Restart func() error
	// Look runs what looks at the trees with the identity that may enter the union. Nil: the caller's own.
	Look func(func())
	// Close removes the state. Nil: nothing to do.
	Close func() error
}

// Config says what to run. Only Fresh must be given.
type Config struct {
	// Fresh makes a new state; all that it makes are equal, or a failure can't be shrunk.
	Fresh func() (*State, error)
	Seed  int64
	// Ops is the number of operations. 0: 10,000.
	Ops int
	// Workers is the number of processes. 0: 3.
	Workers int
	// Credentials are the workers' in turn; nil entries are the caller's own.
	Credentials []*syscall.Credential
	// Root issues what only root may: devices, trusted.* attributes, file capabilities, foreign owners.
	Root bool
	// ACL sets POSIX ACLs.
	ACL bool
	// Atimes compares access times that were set explicitly; of directories only with DirAtimes.
	Atimes, DirAtimes bool
	// CompareEvery is the number of operations between comparisons of the whole trees. 0: 5,000.
	CompareEvery int
	// RemountEvery is the mean number of operations between remounts. 0: 2,000.
	RemountEvery int
	// ShrinkFor bounds the time spent to shrink a failure. 0: one minute; less than 0: none.
	ShrinkFor time.Duration
	// Allow refuses operations that the filesystem below the union can't be asked for. Nil: all.
	Allow func(op.Op) bool
	// Accept knows deviations: true means that these different answers are no failure. Nil: none.
	Accept func(o op.Op, union, plain op.Result) bool
	// Refused knows what the union can't do for want of privileges: true means that the answer stands, and that the
	// operation is left out on the plain copy, which is as it was before. What it left behind shows in the comparison.
	// What was refused otherwise must be refused by the plain copy too. Nil: nothing is refused.
	Refused func(plain string, o op.Op, union op.Result) bool
	// Besides does to the plain copy what the union is known to do besides an operation. Nil: nothing.
	Besides func(o op.Op, union op.Result) error
	// Renumbers allows that what is neither a file nor a directory gets another number.
	Renumbers bool
	// HeldBack says that the kernel holds back what is written to the union: of that, a crash leaves what was
	// synced, so Crash syncs after each write; and it keeps their times, see op.NewSide.
	HeldBack bool
	// Log hears of progress. Nil: silence.
	Log func(format string, args ...any)

	// drop injects the fault that the union loses an operation.
	drop func(op.Op) bool
}

func (c Config) withDefaults() Config {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&c.Ops, 10_000)
	set(&c.Workers, 3)
	set(&c.CompareEvery, 5_000)
	set(&c.RemountEvery, 2_000)
	if c.ShrinkFor == 0 {
		c.ShrinkFor = time.Minute
	}
	if c.Allow == nil {
		c.Allow = func(op.Op) bool { return true }
	}
	if c.Accept == nil {
		c.Accept = func(op.Op, op.Result, op.Result) bool { return false }
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.drop == nil {
		c.drop = func(op.Op) bool { return false }
	}
	return c
}
