package unionfs_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// runWatched runs the tests, and fails if the race detector of a daemon had something to report.
func runWatched(m *testing.M) int {
	if os.Getenv(posixRoot) != "" {
		return m.Run() // the process that started this one reads the reports
	}
	dir, err := os.MkdirTemp("", "unionfs-races-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // some daemons are a plain user's
	}
	if err == nil {
		err = suite.WatchRaces(dir + "/races")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		return 1
	}
	code := m.Run()
	if suite.Raced(dir + "/races") {
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	return code
}
