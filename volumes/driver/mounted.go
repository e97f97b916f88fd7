package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// mountAt looks for a mount at path. It asks the kernel's table, not the file
// system, which may hang.
func mountAt(path string) (top sys.Mount, found bool, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return top, false, nil
	}
	if err != nil {
		return top, false, err
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return top, false, err
	}
	defer table.Close()
	mounts, err := sys.ParseMounts(table)
	for _, m := range mounts {
		if m.Target == filepath.Join(dir, filepath.Base(path)) {
			top, found = m, true // the last one is on top
		}
	}
	return top, found, err
}

// alive is false if the server of a mount is dead; one that doesn't answer in
// time isn't.
func alive(ctx context.Context, m sys.Mount) bool {
	if !strings.HasPrefix(m.Type, "fuse") {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return within(ctx, func(context.Context) error { return sys.Answers(m.Target) }) != sys.ENOTCONN
}

// within waits for a call that the kernel may not give back, no longer than ctx.
func within(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// external runs a command that is in a package of its own, for no longer than ctx.
func external(ctx context.Context, command, pkg string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.WaitDelay = 2 * time.Second
	return output(cmd, pkg)
}

// output runs a command of a package and returns what it prints.
func output(cmd *exec.Cmd, pkg string) (string, error) {
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fail(ErrUnsupported, "%w: install %s", err, pkg)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", cmd.Args[0], strings.Join(cmd.Args[1:], " "), err, strings.Join(strings.Fields(errs.String()), " "))
	}
	return strings.TrimSpace(out.String()), nil
}
