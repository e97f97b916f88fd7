package model

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// Failure is a difference between the union and its plain copy.
type Failure struct {
	Seed  int64
	Index int // of the operation after which it showed
	// What differs, one line each.
	What []string
	// Last are the operations before, the failing one at the end.
	Last []op.Op
	// Shrunk is a short sequence that fails on a fresh state, if one was found; ShrunkWhat is how it fails.
	Shrunk     []op.Op
	ShrunkWhat []string
}

// Error reports all that is known.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "union and plain copy differ (seed %d, after operation %d):\n", f.Seed, f.Index)
	for _, w := range f.What {
		fmt.Fprintf(&b, "  %s\n", w)
	}
	fmt.Fprintf(&b, "the last operations:\n")
	for _, o := range f.Last {
		fmt.Fprintf(&b, "  %v\n", o)
	}
	if f.Shrunk != nil {
		fmt.Fprintf(&b, "shrunk to %d operations from a fresh state:\n", len(f.Shrunk))
		for _, o := range f.Shrunk {
			fmt.Fprintf(&b, "  %v\n", o)
		}
		for _, w := range f.ShrunkWhat {
			fmt.Fprintf(&b, "  => %s\n", w)
		}
	}
	return b.String()
}

// mismatch is a difference inside of a session, which does not know where in the run it is.
type mismatch struct {
	what []string
	// after are operations that would show it: where shrinking looks for the cause.
	after []op.Op
}

func (m *mismatch) Error() string { return strings.Join(m.what, "\n") }

// differ makes a mismatch, or nil of nothing. Long lists are cut: the first lines tell.
func differ(what []string, after ...op.Op) error {
	const enough = 40
	if len(what) == 0 {
		return nil
	}
	if len(what) > enough {
		what = append(what[:enough:enough], fmt.Sprintf("and %d more", len(what)-enough))
	}
	return &mismatch{what, after}
}

// isMismatch tells a finding from a trouble of the test itself.
func isMismatch(err error) (*mismatch, bool) {
	var m *mismatch
	ok := errors.As(err, &m)
	return m, ok
}
