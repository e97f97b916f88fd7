package bench

import (
	"bytes"
	"fmt"
)

// mostOutput is how much of what a failed program printed is kept: cp names each of a million files that had no room.
const mostOutput = 1000

// commandError is the error of a program that failed, with the last it printed.
func commandError(what string, err error, printed []byte) error {
	printed = bytes.TrimSpace(printed)
	if n := len(printed); n > mostOutput {
		printed = append([]byte("... "), printed[n-mostOutput:]...)
	}
	return fmt.Errorf("%s: %w: %s", what, err, printed)
}
