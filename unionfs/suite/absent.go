package suite

import (
	"os"
	"testing"
)

// Absent ends a test that this machine can't run: a skip that says why, but a
// failure in CI, which has everything.
func Absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
