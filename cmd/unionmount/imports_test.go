package main_test

import (
	"slices"
	"strings"
	"testing"
)

// allowedImports is the table of docs/architecture.md: what each package may import of this module.
var allowedImports = map[string][]string{
	"cmd/unionmount":      {"cmd/internal/engine", "bench"},
	"cmd/internal/engine": {"unionfs", "cow", "volumes", "volumes/archive", "volumes/catalog", "volumes/driver", "volumes/plugin", "volumes/tree", "layers/store", "layers/sys"},
	"unionfs":             {"cow", "layers", "layers/sys", "unionfs/transport"},
	"unionfs/transport":   {"layers/sys"},
	"cow":                 {"layers", "layers/sys", "layers/sys/filedata"},
	"layers":              {"layers/sys"},
	"layers/sys":          {},
	"layers/sys/filedata": {"layers/sys"},
	"layers/store":        {"volumes/catalog", "layers", "layers/sys"},
	"volumes":             {"layers/sys", "volumes/archive", "volumes/catalog", "volumes/driver", "volumes/tree"},
	"volumes/archive":     {"layers/sys", "layers/sys/filedata", "volumes/tree"},
	"volumes/tree":        {"layers/sys", "layers/sys/filedata"},
	"volumes/driver":      {"layers/sys", "volumes/plugin"},
	"volumes/plugin":      {},
	"volumes/catalog":     {"layers/sys"},
}

// homes says which of our packages may import what isn't ours.
var homes = map[string][]string{
	"github.com/hanwen/go-fuse":     {"unionfs", "unionfs/transport"},
	"github.com/spf13/cobra":        {"cmd/unionmount"},
	"github.com/dgraph-io/badger":   {"volumes/catalog"},
	"github.com/klauspost/compress": {"volumes/archive"},
	"golang.org/x/sys/unix":         {"layers/sys", "unionfs/transport"},
}

func TestImports(t *testing.T) {
	cmd := command(t, "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = suite.module
	r := finish(cmd)
	if r.code != 0 {
		t.Fatal(r)
	}
	const module = "github.com/unionmount/unionmount/"
	for line := range strings.Lines(r.stdout) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		allowed, listed := allowedImports[pkg]
		switch {
		case strings.HasPrefix(pkg+"/", "unionfs/suite/"), strings.HasPrefix(pkg, "bench"):
			continue // they test and measure: nothing of the product imports them
		case !listed:
			t.Errorf("%s has no line in the table of imports", pkg)
		}
		for _, imported := range fields[1:] {
			if ours, ok := strings.CutPrefix(imported, module); ok && listed && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", pkg, ours)
			}
			for foreign, home := range homes {
				if (imported == foreign || strings.HasPrefix(imported, foreign+"/")) && !slices.Contains(home, pkg) {
					t.Errorf("%s imports %s, which lives only in %v", pkg, imported, home)
				}
			}
		}
	}
}
