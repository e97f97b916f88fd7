package worker

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// hang is how long one operation may take.
const hang = 2 * time.Minute

// Process is a running worker. It is used by one goroutine at a time.
type Process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	to     *os.File
	from   *os.File
	w      *bufio.Writer
	enc    *gob.Encoder
	dec    *gob.Decoder
	closed bool
}

// Start runs a worker, with credentials of its own if any are given.
func Start(s Setup, cred *syscall.Credential) (*Process, error) {
	in, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	defer out.Close()
	p := &Process{to: to, from: from, cmd: exec.Command("/proc/self/exe")}
	// EINTR from Go's own preemption signals is no answer of the filesystem; and the race detector's second of
	// sleep at exit would be most of the time that shrinking has.
	p.cmd.Env = append(os.Environ(), marker+"=1", "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0")
	p.cmd.Dir = "/"
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	p.w = bufio.NewWriter(to)
	p.enc = gob.NewEncoder(p.w)
	p.dec = gob.NewDecoder(bufio.NewReader(from))
	if _, err := p.call(request{Setup: &s}); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Do executes one operation.
func (p *Process) Do(o op.Op, sides Sides) (union, plain op.Result, err error) {
	resp, err := p.call(request{Op: o, Sides: sides})
	return resp.Union, resp.Plain, err
}

func (p *Process) call(req request) (response, error) {
	var resp response
	err := p.enc.Encode(req)
	if err == nil {
		err = p.w.Flush()
	}
	if err == nil {
		err = p.from.SetReadDeadline(time.Now().Add(hang))
	}
	if err == nil {
		err = p.dec.Decode(&resp)
	}
	if err != nil {
		p.Close() // what it wrote is whole once it is gone
		return resp, fmt.Errorf("worker at %v: %w; %s", req.Op, err, p.stderr.Bytes())
	}
	return resp, nil
}

// Close ends the worker, and with it all its open files.
func (p *Process) Close() {
	if p.closed {
		return
	}
	p.closed = true
	p.to.Close()
	timer := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	_ = p.cmd.Wait() // its exit says nothing: a broken worker has failed an operation before
	timer.Stop()
	p.from.Close()
}
