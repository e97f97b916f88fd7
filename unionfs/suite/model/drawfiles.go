package model

import (
	"os"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// drawFiles lists the operations on open files, and how they are opened.
func (g *generator) drawFiles() []weighted {
	return []weighted{
		{12, g.drawOpen},
		{2, func(o *op.Op) {
			o.Kind, o.Path, o.Slot = op.Tmpfile, g.names.some(os.ModeDir), g.rng.Intn(op.Slots)
			o.Flags, o.Mode = unix.O_RDWR|g.maybe(4, unix.O_EXCL), g.permissions()
		}},
		{1, func(o *op.Op) { g.onFile(o, op.Flink); o.Path = g.names.fresh() }},
		{4, func(o *op.Op) { o.Kind, o.Slot = op.Close, g.rng.Intn(op.Slots) }},
		{3, func(o *op.Op) { g.onFile(o, op.Read); o.Len = g.length() }},
		{5, func(o *op.Op) { g.onFile(o, op.Pread); o.Off, o.Len = g.offset(), g.length() }},
		{5, func(o *op.Op) { g.onFile(o, op.Write); o.Len, o.Seed = g.length(), g.rng.Uint64() }},
		{6, func(o *op.Op) { g.onFile(o, op.Pwrite); o.Off, o.Len, o.Seed = g.offset(), g.length(), g.rng.Uint64() }},
		{2, func(o *op.Op) { g.onFile(o, op.Ftruncate); o.Len = g.offset() }},
		{3, g.drawFallocate},
		{1, func(o *op.Op) { g.onFile(o, op.Lseek); o.Off, o.Flags = g.offset()-1000, g.rng.Intn(3) }},
		{2, func(o *op.Op) { g.onFile(o, op.SeekHole); o.Off, o.Flags = g.offset(), unix.SEEK_DATA+g.rng.Intn(2) }},
		{2, func(o *op.Op) { g.onFile(o, op.MapRead); o.Off, o.Len = g.offset(), g.length() }},
		{2, func(o *op.Op) {
			g.onFile(o, op.MapWrite)
			o.Off, o.Len, o.Seed = g.offset(), g.length(), g.rng.Uint64()
		}},
		{1, func(o *op.Op) { g.onFile(o, op.MapHold) }},
		{2, func(o *op.Op) { g.onFile(o, op.MapHeldRead) }},
		{2, func(o *op.Op) {
			g.onFile(o, op.CopyRange)
			o.Slot2, o.Off, o.Off2, o.Len = g.slot(o.Worker, 0), g.offset(), g.offset(), g.length()
		}},
		{1, func(o *op.Op) { g.onFile(o, op.Fsync) }},
	}
}

// maybe gives the value once in n draws, else 0.
func (g *generator) maybe(n, value int) int {
	if g.rng.Intn(n) == 0 {
		return value
	}
	return 0
}

func (g *generator) onFile(o *op.Op, kind op.Kind) {
	o.Kind, o.Slot = kind, g.slot(o.Worker, 0)
}

// maxFile bounds most offsets and sizes.
const maxFile = 256 << 10

// offset draws a place in a file: often small or at a page's border, rarely far out.
func (g *generator) offset() int64 {
	switch g.rng.Intn(16) {
	case 0:
		return 0
	case 1:
		return g.rng.Int63n(4 << 20)
	case 2, 3, 4:
		return g.rng.Int63n(maxFile) &^ 4095
	case 5, 6, 7:
		return g.rng.Int63n(maxFile)
	default:
		return g.rng.Int63n(8192)
	}
}

func (g *generator) length() int64 {
	switch g.rng.Intn(8) {
	case 0:
		return g.rng.Int63n(128 << 10)
	case 1:
		return 4096 * g.rng.Int63n(8)
	case 2:
		return g.rng.Int63n(3)
	default:
		return g.rng.Int63n(6000)
	}
}

func (g *generator) permissions() uint32 {
	modes := []uint32{0o644, 0o600, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o444, 0o700}
	return modes[g.rng.Intn(len(modes))]
}

func (g *generator) drawOpen(o *op.Op) {
	access := []int{unix.O_RDONLY, unix.O_RDWR, unix.O_RDWR, unix.O_WRONLY}
	o.Kind, o.Slot = op.Open, g.rng.Intn(op.Slots)
	o.Flags = access[g.rng.Intn(4)] | g.maybe(4, unix.O_APPEND) | g.maybe(6, unix.O_TRUNC) | g.maybe(12, unix.O_NOFOLLOW)
	switch g.rng.Intn(8) {
	case 0:
		o.Path, o.Flags = g.names.some(os.ModeDir), unix.O_RDONLY|g.maybe(2, unix.O_DIRECTORY)
	case 1, 2:
		o.Path, o.Mode = g.names.fresh(), g.permissions()
		o.Flags |= unix.O_CREAT | g.maybe(2, unix.O_EXCL)
	case 3:
		o.Path, o.Mode = g.names.some(0), g.permissions()
		o.Flags |= unix.O_CREAT
	default:
		o.Path = g.names.some(0, 0, os.ModeSymlink)
	}
}

func (g *generator) drawFallocate(o *op.Op) {
	modes := []int{
		0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE,
		unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	}
	g.onFile(o, op.Fallocate)
	o.Flags, o.Off, o.Len = modes[g.rng.Intn(len(modes))], g.offset(), g.length()
}
