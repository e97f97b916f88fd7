package bench

import (
	"bufio"
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

	seen []string // files found by an earlier phase
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
		var i int
		if err := json.Unmarshal(in.Bytes(), &i); err != nil || i >= len(s.phases) {
			return 2
		}
		if err := out.Encode(c.do(s.phases[i])); err != nil {
			return 1
		}
	}
	return 0
}

func (c *client) do(p phase) (o outcome) {
	if p.before != nil {
		if err := p.before(c); err != nil {
			return outcome{Err: "prepare: " + err.Error()}
		}
	}
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

// startClient starts a client as uid.
func startClient(binary string, uid int, c client) (*process, error) {
	cmd := exec.Command(binary, ClientArg)
	cmd.Dir = c.Scratch
	cmd.Env = append(os.Environ(), "HOME="+c.Scratch, "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(uid)}
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

// phase has the client run one phase.
func (p *process) phase(i int) (outcome, error) {
	if err := json.NewEncoder(p.in).Encode(i); err != nil {
		return outcome{}, err
	}
	var o outcome
	err := p.out.Decode(&o)
	if err == nil && o.Err != "" {
		err = errors.New(o.Err)
	}
	return o, err
}

func (p *process) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }
