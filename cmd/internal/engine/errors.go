package engine

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/volumes"
)

// Kinds of failure; the command line numbers its exit codes by them.
var (
	ErrUsage       = errors.New("usage")
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("in use")
	ErrUnsupported = errors.New("not supported here")
)

// Error says what failed, of which kind, and why; the kind isn't printed.
type Error struct {
	What string
	Kind error // nil: a plain failure
	Why  error
}

func (e *Error) Error() string   { return fmt.Sprintf("%s: %v", e.What, e.Why) }
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Why} }

// fail makes an Error; the kind of why is kept if there is one.
func fail(kind error, what, format string, a ...any) error {
	return &Error{What: what, Kind: kind, Why: fmt.Errorf(format, a...)}
}

// blame says what an error of the packages below was about; its kind is kept.
// An Error says so already.
func blame(what string, err error) error {
	var said *Error
	if err == nil || errors.As(err, &said) {
		return err
	}
	return &Error{What: what, Kind: kindOf(err), Why: err}
}

// kindOf sorts an error of the packages below.
func kindOf(err error) error {
	switch {
	case errors.Is(err, unionfs.ErrInUse), errors.Is(err, volumes.ErrConflict), errors.Is(err, ErrConflict):
		return ErrConflict
	case errors.Is(err, unionfs.ErrUnsupported), errors.Is(err, volumes.ErrUnsupported), errors.Is(err, ErrUnsupported):
		return ErrUnsupported
	case errors.Is(err, volumes.ErrNotFound), errors.Is(err, ErrNotFound):
		return ErrNotFound
	case errors.Is(err, volumes.ErrBadSpec), errors.Is(err, ErrUsage):
		return ErrUsage
	}
	return nil
}

// ExitCode numbers an error: 1 failed, 2 usage, 3 not found, 4 in use or conflict, 5 not supported here.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	switch kindOf(err) {
	case ErrUsage:
		return 2
	case ErrNotFound:
		return 3
	case ErrConflict:
		return 4
	case ErrUnsupported:
		return 5
	}
	return 1
}
