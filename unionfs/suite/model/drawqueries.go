package model

import (
	"os"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// drawQueries lists the operations that only look.
func (g *generator) drawQueries() []weighted {
	return []weighted{
		{2, func(o *op.Op) { o.Kind, o.Path = op.Stat, g.names.some() }},
		{4, func(o *op.Op) { o.Kind, o.Path = op.Lstat, g.names.some() }},
		{2, func(o *op.Op) { o.Kind, o.Slot = op.Fstat, g.rng.Intn(op.Slots) }},
		{2, func(o *op.Op) { o.Kind, o.Path, o.Mode = op.Access, g.names.some(), uint32(g.rng.Intn(8)) }},
		{2, func(o *op.Op) { o.Kind, o.Path = op.Readlink, g.names.some(os.ModeSymlink) }},
		{3, func(o *op.Op) { o.Kind, o.Path, o.Len = op.List, g.names.some(os.ModeDir), g.listBuffer() }},
		{1, func(o *op.Op) {
			o.Kind, o.Slot, o.Len = op.Flist, g.slot(o.Worker, os.ModeDir), g.listBuffer()
		}},
		{2, func(o *op.Op) {
			o.Kind, o.Path, o.Name = op.Getxattr, g.xattrHolder(), g.xattrName()
			o.Len = []int64{0, 3, 1024}[g.rng.Intn(3)]
		}},
		{1, func(o *op.Op) { g.onFile(o, op.Fgetxattr); o.Name, o.Len = g.xattrName(), 1024 }},
		{2, func(o *op.Op) { o.Kind, o.Path = op.Listxattr, g.names.some() }},
	}
}

// listBuffer makes some listings go in many steps.
func (g *generator) listBuffer() int64 { return []int64{600, 4096, 32768}[g.rng.Intn(3)] }
