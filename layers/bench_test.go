package layers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// stack makes n layers that share one directory of names; each has every n-th of them.
func stack(b *testing.B, n, names int) *layers.Stack {
	b.Helper()
	s := &layers.Stack{MarksPrefix: layers.PrefixTrusted}
	var devs []uint64
	for i := range n {
		dir := filepath.Join(b.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for k := i; k < names; k += n {
			if err := os.WriteFile(fmt.Sprintf("%s/name%06d", dir, k), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
		l, err := layers.OpenLower(filepath.Dir(dir), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = l.Close() })
		s.Lowers, devs = append(s.Lowers, l), append(devs, l.Dev)
	}
	s.IDs = layers.NewIdentity(devs...)
	return s
}

func directory(b *testing.B, s *layers.Stack) *layers.Entry {
	b.Helper()
	root, err := s.Root()
	if err != nil {
		b.Fatal(err)
	}
	dir, err := s.Lookup(root, "", "dir")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkLookup finds names of the bottom layer of n, and names that no layer has.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 2, 10, 100} {
		s := stack(b, n, 10*n)
		dir := directory(b, s)
		for what, name := range map[string]string{"bottom": fmt.Sprintf("name%06d", n-1), "absent": "no-such-name"} {
			b.Run(fmt.Sprintf("layers=%d/%s", n, what), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Lookup(dir, "", name); err != nil && err != sys.ENOENT {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkList merges the listings of n layers; an operation is one name.
func BenchmarkList(b *testing.B) {
	const names = 10_000
	for _, n := range []int{1, 3, 10} {
		s := stack(b, n, names)
		dir := directory(b, s)
		b.Run(fmt.Sprintf("layers=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			seen := 0
			for b.Loop() {
				if err := s.List(dir, "", func(layers.Name) error { seen++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(seen), "ns/name")
		})
	}
}
