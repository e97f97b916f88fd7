package bench

import (
	"fmt"
	"path/filepath"
)

// curves are what a union must bear to grow with.
func curves() []curve {
	first := curve{name: "first walk", over: "layers"}
	second := curve{name: "second walk", over: "layers"}
	unmerged := curve{name: "first walk of an unmerged tree", over: "layers"}
	for _, n := range []int{1, 10, 100, 500} {
		t := tree{name: fmt.Sprintf("stack%d", n), layers: n, fill: fillStack(n)}
		x, quick := float64(n), n <= 100
		first.add(x, quick, t, phase{kind: KindMetadata, cold: true, run: walk})
		second.add(x, quick, t, phase{line: "walk before", run: walk, after: true}, phase{kind: KindMetadata, run: walk})
		unmerged.add(x, quick, t, phase{kind: KindMetadata, cold: true, run: walkBelow(unmergedDir)})
	}
	names := curve{name: "list a merged directory again", over: "names"}
	for _, n := range []int{1000, 100_000, 1_000_000} {
		names.add(float64(n), n < 100_000, tree{name: fmt.Sprintf("names%d", n), layers: 2, fill: fillNames(n)},
			phase{line: "first listing", run: listWide(1), after: true}, phase{kind: KindMetadata, run: listWide(1)})
	}
	sizes := curve{name: "read a file again", over: "bytes"}
	for _, n := range []int64{4 << 10, 1 << 20, 64 << 20, 8 << 30} {
		sizes.add(float64(n), n <= 64<<20, tree{name: fmt.Sprintf("file%d", n), layers: 1, fill: fillFile(n)},
			phase{line: "first read", run: readFile(n), after: true}, phase{kind: KindData, run: readFile(n)})
	}
	return append([]curve{first, second, unmerged, names, sizes}, clientCurves()...)
}

// clientCurves are of work that several clients share. An operation's time is what passes divided by the operations
// of all: with a processor for each client, and nothing in the way, it falls as clients come.
func clientCurves() []curve {
	walks := curve{name: "first walk by several clients", over: "clients"}
	stats := curve{name: "stat by several clients", over: "clients"}
	creates := curve{name: "create by several clients", over: "clients", changes: true}
	for _, n := range []int{1, 2, 4, 8, 16} {
		x, quick, t := float64(n), n <= 4, sourceTree
		t.name = fmt.Sprintf("%s%d", t.name, n)
		t.like = sourceTree.name
		walks.add(x, quick, t, phase{kind: KindMetadata, before: clients(n, listTop), run: atOnce(n, walkShare)})
		stats.add(x, quick, t, phase{kind: KindMetadata, before: clients(n, find), run: atOnce(n, statShare)})
		creates.add(x, quick, t, phase{kind: KindMetadata, before: clients(n, nothingFirst), run: atOnce(n, createShare)})
	}
	return []curve{walks, stats, creates}
}

// walkBelow walks a part of the tree.
func walkBelow(dir string) func(*client) (int64, error) {
	return func(c *client) (int64, error) {
		part := *c
		part.Dir = filepath.Join(c.Dir, dir)
		return walk(&part)
	}
}
