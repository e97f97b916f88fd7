package volumes

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/volumes/driver"
)

// Errors of this package that callers tell apart; the text of the error says all, in Docker's words.
var (
	ErrBadSpec     = errors.New("bad volume")
	ErrNotFound    = errors.New("no such volume")
	ErrConflict    = errors.New("in use or conflict")
	ErrUnsupported = errors.New("not supported here")
)

// failure is an error of a kind that isn't printed.
type failure struct {
	kind error
	why  error
}

func (f *failure) Error() string   { return f.why.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.why} }

func fail(kind error, format string, a ...any) error {
	return &failure{kind, fmt.Errorf(format, a...)}
}

// Judge gives an error of a driver a kind of ours.
func Judge(err error) error {
	for theirs, ours := range map[error]error{driver.ErrBadOption: ErrBadSpec, driver.ErrUnsupported: ErrUnsupported,
		driver.ErrInUse: ErrConflict, driver.ErrNotFound: ErrNotFound} {
		if errors.Is(err, theirs) {
			return &failure{ours, err}
		}
	}
	return err
}

// hasNameForm is [a-zA-Z0-9][a-zA-Z0-9_.-]+: a regexp takes a third of the time in which 10,000 are listed.
func hasNameForm(name string) bool {
	for i := range len(name) {
		c := name[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return len(name) > 1
}

// CheckName applies Docker's rule for volume names, in Docker's words.
func CheckName(name string) error {
	switch {
	case len(name) == 1:
		return fail(ErrBadSpec, "volume name is too short, names should be at least two alphanumeric characters")
	case !hasNameForm(name):
		return fail(ErrBadSpec, "%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)
	case len(name) > 255:
		return fail(ErrBadSpec, "volume name is too long, 255 characters at most: %q", name)
	}
	return nil
}

// AnonymousLabel marks a volume that nobody named, as it does in Docker.
const AnonymousLabel = "com.docker.volume.anonymous"

// Anonymous draws a name for a volume that nobody names: 64 hexadecimal digits.
func Anonymous() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
