package op

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Result is what an operation answered on one side. Errno and Out must be equal on both.
type Result struct {
	Errno unix.Errno
	Out   string
	// Seen are the objects that the answer described, in the same order on both sides.
	Seen []Seen
}

// Seen is one sight of an object: how the sides' numbers for the same object are brought together.
type Seen struct {
	Where string
	Ino   uint64
	Dev   uint64
	// Key identifies the object for as long as the filesystem exists. Only the plain side has it.
	Key string
	// Atime is the access time, or Now.
	Atime string
	Dir   bool
	// Special says that it is neither a file nor a directory.
	Special bool
}

// Now stands for a time that the kernel set during the run.
const Now = "now"

// Dead says that an error means the filesystem's server is gone. ECANCELED is what
// a request gets that was on its way to a ring whose thread is killed (fs/fuse/dev_uring.c, fuse_uring_send_in_task).
func (r Result) Dead() bool {
	switch r.Errno {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ECONNREFUSED, unix.ESHUTDOWN, unix.ECANCELED:
		return true
	}
	for _, sign := range []string{"ENOTCONN", "ECONNABORTED", "ECANCELED", unix.ENOTCONN.Error(), unix.ECONNABORTED.Error(), unix.ECANCELED.Error()} {
		if strings.Contains(r.Out, sign) {
			return true
		}
	}
	return r.Out == sigbus
}

// String renders a result for a failure's report.
func (r Result) String() string {
	name := "ok"
	if r.Errno != 0 {
		name = unix.ErrnoName(r.Errno)
	}
	return fmt.Sprintf("%s %s", name, r.Out)
}

// Quote quotes a path, with long runs of one character counted.
func Quote(p string) string {
	const many = 20
	var b strings.Builder
	for len(p) > 0 {
		r, size := utf8.DecodeRuneInString(p)
		char, n := p[:size], 1
		for r != utf8.RuneError && strings.HasPrefix(p[n*size:], char) {
			n++
		}
		if n < many {
			b.WriteString(p[:n*size])
		} else {
			fmt.Fprintf(&b, "%s{%d}", char, n)
		}
		p = p[n*size:]
	}
	return strconv.Quote(b.String())
}

// failed makes a result of an error; nil is success.
func failed(err error) Result {
	if err == nil {
		return Result{}
	}
	if e, ok := err.(unix.Errno); ok {
		return Result{Errno: e}
	}
	return Result{Out: err.Error(), Errno: unix.EINVAL}
}

// answered makes a result of an answer, or of the error in place of one.
func answered(err error, format string, args ...any) Result {
	r := failed(err)
	if err == nil {
		r.Out = fmt.Sprintf(format, args...)
	}
	return r
}
