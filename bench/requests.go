package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// tracer counts the FUSE requests of one connection by the kernel's own
// tracepoint (fs/fuse/fuse_trace.h), in a tracefs instance of its own: nothing
// else that traces on this machine is disturbed.
type tracer struct{ fs, dir string }

const traceEvent = "events/fuse/fuse_request_send"

// newTracer mounts tracefs at dir, which is made.
func newTracer(dir string) (t *tracer, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("tracefs", dir, "tracefs", 0, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount tracefs: %w", err), os.Remove(dir))
	}
	t = &tracer{fs: dir, dir: filepath.Join(dir, "instances", fmt.Sprintf("unionmount-bench-%d", os.Getpid()))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("tracefs: %w", err), t.unmount())
	}
	if err := t.set("buffer_size_kb", "32768"); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tracer) set(file, value string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(value), 0)
}

// start counts from zero the requests of the mount with that device number.
func (t *tracer) start(dev uint64) error {
	return errors.Join(
		t.set("trace", ""),
		t.set(traceEvent+"/filter", fmt.Sprintf("connection == %d", dev)),
		t.set(traceEvent+"/enable", "1"))
}

// cancel ends a count that nobody wants.
func (t *tracer) cancel() error { return t.set(traceEvent+"/enable", "0") }

var opcodeName = regexp.MustCompile(`opcode \d+ \(FUSE_(\w+)\)`)

// stop ends the count; lost tells that the kernel's buffer overflowed.
func (t *tracer) stop() (counts map[string]int64, lost bool, err error) {
	if err := t.set(traceEvent+"/enable", "0"); err != nil {
		return nil, false, err
	}
	f, err := os.Open(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	counts = make(map[string]int64)
	in := bufio.NewScanner(f)
	for in.Scan() {
		if m := opcodeName.FindStringSubmatch(in.Text()); m != nil {
			counts[m[1]]++
		}
		if strings.HasPrefix(in.Text(), "# entries-in-buffer") {
			var kept, written int64
			if n, _ := fmt.Sscanf(in.Text(), "# entries-in-buffer/entries-written: %d/%d", &kept, &written); n == 2 {
				lost = kept < written
			}
		}
	}
	return counts, lost, in.Err()
}

func (t *tracer) unmount() error { return errors.Join(unix.Unmount(t.fs, 0), os.Remove(t.fs)) }

func (t *tracer) close() error { return errors.Join(os.Remove(t.dir), t.unmount()) }
