// Package worker runs operations in processes of their own: open files, mappings, umask and credentials are a
// process's, and what one process does must show in the others.
//
// A worker is the test binary executed again. So a test package that uses workers calls Main first:
//
//	func TestMain(m *testing.M) { worker.Main(); os.Exit(m.Run()) }
package worker

import (
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// marker is the environment variable that makes a process a worker.
const marker = "UNIONFS_SUITE_WORKER"

// Setup is what a worker is told first.
type Setup struct {
	Union, Plain string
	Start        time.Time // of the run, see op.NewSide
	HeldBack     bool      // see op.NewSide
}

// Sides chooses where an operation is executed.
type Sides uint8

// The sides; Both executes on the union first.
const (
	Union Sides = 1 << iota
	Plain
	Both = Union | Plain
)

// request is one message to a worker; a Setup makes it forget all before.
type request struct {
	Setup *Setup
	Op    op.Op
	Sides Sides
}

// response answers a request.
type response struct {
	Union, Plain op.Result
}
