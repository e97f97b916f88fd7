package suite

import (
	"fmt"
	"os"
	"path/filepath"
)

// WatchRaces has the race detector of every process started from now on report into
// files in dir, a new directory, and end without its second of grace: a daemon's stderr
// is nobody's, and one that is killed has no exit status to tell it by.
func WatchRaces(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o1777); err != nil { // some are another user's
		return err
	}
	return os.Setenv("GORACE", "atexit_sleep_ms=0 log_path="+dir+"/race")
}

// Raced prints what was reported, and tells whether anything was.
func Raced(dir string) bool {
	reports, _ := filepath.Glob(dir + "/*") // the pattern is good
	for _, report := range reports {
		text, _ := os.ReadFile(report)
		fmt.Fprintf(os.Stderr, "FAIL: %s: %s\n", report, text)
	}
	return len(reports) > 0
}
