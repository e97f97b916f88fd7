package cow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
)

// BenchmarkCopyUp stages and publishes a copy of a file, as its first write does.
func BenchmarkCopyUp(b *testing.B) {
	for _, size := range []int{0, 4 << 10, 1 << 20} {
		for _, volatile := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/volatile=%v", size, volatile), func(b *testing.B) { copyUps(b, size, volatile) })
		}
	}
}

func copyUps(b *testing.B, size int, volatile bool) {
	base := b.TempDir()
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "lower", "file"), make([]byte, size), 0o644); err != nil {
		b.Fatal(err)
	}
	lower, err := layers.OpenLower(filepath.Join(base, "lower"), 8)
	if err != nil {
		b.Fatal(err)
	}
	defer lower.Close()
	upper, err := layers.OpenUpper(filepath.Join(base, "upper"), 8)
	if err != nil {
		b.Fatal(err)
	}
	defer upper.Close()
	w, err := cow.OpenWriter(upper, filepath.Join(base, "work"), cow.Options{Volatile: volatile})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	s := &layers.Stack{Upper: upper, Lowers: []*layers.Layer{lower}, Index: w.Index(),
		IDs: layers.NewIdentity(upper.Dev, lower.Dev), MarksPrefix: w.Prefix}
	root, err := s.Root()
	if err != nil {
		b.Fatal(err)
	}
	e, err := s.Lookup(root, "", "file")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		staged, err := w.StageCopy(s, e.Lower(), cow.Whole)
		if err != nil {
			b.Fatal(err)
		}
		if err := staged.Publish("", fmt.Sprint("file", i)); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := w.ClearVolatile(); err != nil {
		b.Fatal(err)
	}
}
