package model

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// touched accepts that a crash came between a copy-up's appearance in a directory of
// upper and the setting back of that directory's times: nothing else may differ, and only
// of directories that are there in both. It gives the plain copy those times, and
// returns what differs then.
func (s *session) touched(what []string) ([]string, error) {
	dirs := lookups(what)
	if len(dirs) != len(what) {
		return what, nil
	}
	for _, line := range what {
		if !strings.Contains(line, "\": mtime: ") {
			return what, nil
		}
	}
	accepted := true
	s.look(func() {
		for _, d := range dirs {
			accepted = accepted && s.touchedAt(d.Path)
		}
	})
	if !accepted {
		return what, nil
	}
	return s.compareTrees(map[string]string{})
}

// touchedAt gives a directory of the plain copy the mtime of the union's, if that is of this run.
func (s *session) touchedAt(path string) bool {
	union, err := os.Lstat(filepath.Join(s.state.Union, path))
	if err != nil || !union.IsDir() || op.Stamp(union.ModTime().UnixNano(), s.start.UnixNano()) != op.Now {
		return false
	}
	plain := filepath.Join(s.state.Plain, path)
	return os.Chtimes(plain, time.Time{}, union.ModTime()) == nil
}
