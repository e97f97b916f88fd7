package bench

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// jobs are fio's job files. They take DIR, RUNTIME and QUARTER (of the large file's size) from the environment.
//
//go:embed jobs/*.fio
var jobs embed.FS

// report is the part of fio's JSON that is read here; all of it is kept.
type report struct {
	Jobs []struct {
		Error int
		Read  direction
		Write direction
	}
}

type direction struct {
	TotalIOs int64   `json:"total_ios"`
	Bytes    int64   `json:"io_bytes"`
	Runtime  float64 // milliseconds
}

// fio runs a job file. An operation is one read or write; the time is fio's own.
func (c *client) fio(p phase) (outcome, error) {
	text, err := c.runFio(p.fio, "--output-format=json")
	if err != nil {
		return outcome{}, err
	}
	return readReport(text)
}

func (c *client) runFio(name, flag string) ([]byte, error) {
	text, err := jobs.ReadFile("jobs/" + name + ".fio")
	if err != nil {
		return nil, err
	}
	job := filepath.Join(c.Scratch, name+".fio")
	if err := os.WriteFile(job, text, 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("fio", flag, job)
	cmd.Dir = c.Scratch
	cmd.Env = append(os.Environ(), "DIR="+c.Dir, fmt.Sprintf("RUNTIME=%dms", c.Runtime.Milliseconds()),
		fmt.Sprintf("QUARTER=%d", int64(dataBytes*c.Scale)/4))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, commandError("fio", err, append(stdout.Bytes(), stderr.Bytes()...))
	}
	return stdout.Bytes(), nil
}

func readReport(text []byte) (o outcome, err error) {
	if i := bytes.IndexByte(text, '{'); i > 0 {
		text = text[i:] // notes that fio prints before its JSON
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return o, fmt.Errorf("fio's output: %w", err)
	}
	var kept bytes.Buffer
	if err := json.Compact(&kept, text); err != nil {
		return o, fmt.Errorf("fio's output: %w", err)
	}
	o.Fio = kept.Bytes()
	longest := 0.0
	for _, j := range r.Jobs {
		if j.Error != 0 {
			return o, fmt.Errorf("fio: error %d", j.Error)
		}
		for _, d := range []direction{j.Read, j.Write} {
			o.Ops += d.TotalIOs
			o.Bytes += d.Bytes
			longest = max(longest, d.Runtime)
		}
	}
	o.Nanoseconds = int64(longest * 1e6)
	return o, nil
}
