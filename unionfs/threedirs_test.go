package unionfs

import (
	"log/slog"
	"os"
	"testing"
)

// threeDirs opens, without a kernel, a union of the directories lower, upper and work in d. fill, if not nil, makes what lower holds.
func threeDirs(t *testing.T, writeback bool, fill func(lower string)) (fs *FS, d string) {
	t.Helper()
	d = t.TempDir()
	for _, sub := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(d+"/"+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if fill != nil {
		fill(d + "/lower")
	}
	fs, err := Open(Config{Lowers: []string{d + "/lower"}, Upper: d + "/upper", Work: d + "/work",
		IO: IOCached, Writeback: writeback, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return fs, d
}
