package unionfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// runWatched runs the tests, and fails if the race detector of a daemon had something to report. It reports into files:
// a daemon that is killed, as most are in TestCrash, has no exit status to tell it by.
func runWatched(m *testing.M) int {
	if os.Getenv(posixRoot) != "" {
		return m.Run() // the process that started this one reads the reports
	}
	dir, err := os.MkdirTemp("", "unionfs-races-")
	if err == nil {
		err = os.Chmod(dir, 0o1777) // some daemons are a plain user's
	}
	if err == nil {
		err = os.Setenv("GORACE", "atexit_sleep_ms=0 log_path="+dir+"/race")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		return 1
	}
	code := m.Run()
	reports, _ := filepath.Glob(dir + "/*")
	for _, report := range reports {
		text, _ := os.ReadFile(report)
		fmt.Fprintf(os.Stderr, "FAIL: %s: %s\n", report, text)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	return code
}
