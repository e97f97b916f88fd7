package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ClientArg is the hidden first argument of the process that runs workloads.
const ClientArg = "_bench"

// client is the process that works in a peer's tree, and what it knows.
type client struct {
	Scenario string
	Dir      string // where it works
	Scratch  string // beside it, on the same file system
	Scale    float64
	Runtime  time.Duration // of a line that runs for a time
	Lay      bool          // requests are counted: fio makes its files before

	seen []string // files found by an earlier phase
}

// order is what a client is told: to prepare a phase or to do it.
type order struct {
	Phase   int
	Prepare bool `json:",omitempty"`
}

// outcome is what one phase did.
type outcome struct {
	Ops         int64
	Nanoseconds int64
	Bytes       int64           `json:",omitempty"`
	Fio         json.RawMessage `json:",omitempty"`
	Err         string          `json:",omitempty"`
}

// Client runs workloads as the runner tells it, phase by phase, until its input ends.
func Client() int {
	unix.Umask(0o022)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	var c client
	if !in.Scan() || json.Unmarshal(in.Bytes(), &c) != nil {
		fmt.Fprintln(os.Stderr, "unionmount: bench: this process is started by unionmount bench")
		return 2
	}
	s, ok := scenarioNamed(c.Scenario)
	for ok && in.Scan() {
		var told order
		if err := json.Unmarshal(in.Bytes(), &told); err != nil || told.Phase >= len(s.phases) {
			return 2
		}
		do := c.do
		if told.Prepare {
			do = c.prepare
		}
		if err := out.Encode(do(s.phases[told.Phase])); err != nil {
			return 1
		}
	}
	return 0
}

func (c *client) prepare(p phase) (o outcome) {
	var err error
	if p.before != nil {
		err = p.before(c)
	} else if p.fio != "" && c.Lay {
		_, err = c.runFio(p.fio, "--create_only=1")
	}
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

func (c *client) do(p phase) (o outcome) {
	start := time.Now()
	var err error
	if p.fio != "" {
		o, err = c.fio(p)
	} else {
		o.Ops, err = p.run(c)
		o.Nanoseconds = time.Since(start).Nanoseconds()
	}
	if err == nil && o.Ops == 0 {
		err = errors.New("nothing was done")
	}
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

// process is a client as the runner sees it.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startClient starts a client as uid. It and what it started are killed when ctx ends: they are a group of their own.
func startClient(ctx context.Context, binary string, uid int, c client) (*process, error) {
	cmd := exec.CommandContext(ctx, binary, ClientArg)
	cmd.Dir = c.Scratch
	cmd.Env = append(os.Environ(), "HOME="+c.Scratch, "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	if uid != 0 {
		cmd.SysProcAttr.Credential = credential(uid)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the client: %w", err)
	}
	p := &process{cmd, in, json.NewDecoder(out)}
	return p, json.NewEncoder(in).Encode(c)
}

// ask has the client do something.
func (p *process) ask(what order) (outcome, error) {
	if err := json.NewEncoder(p.in).Encode(what); err != nil {
		return outcome{}, fmt.Errorf("the client is gone: %w", err)
	}
	var o outcome
	err := p.out.Decode(&o)
	if err != nil {
		err = fmt.Errorf("the client is gone: %w", err)
	} else if o.Err != "" {
		err = errors.New(o.Err)
	}
	return o, err
}

// end ends the client; how it ends says nothing more if it failed already.
func (p *process) end(failed bool) error {
	err := errors.Join(p.in.Close(), p.cmd.Wait())
	if failed {
		return nil
	}
	return err
}
