package engine

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/archive"
)

// Moved is what an export or import came to.
type Moved struct {
	Objects, Bytes int64
	Checksum       string   // SHA-256; "" if the archive had none
	Remarks        []string // what is not as one might think
}

func moved(st archive.Stats) Moved {
	m := Moved{Objects: st.Objects, Bytes: st.Bytes, Checksum: st.Digest}
	remark := func(n int64, format string) {
		if n > 0 {
			m.Remarks = append(m.Remarks, fmt.Sprintf(format, n))
		}
	}
	remark(st.Sockets, "%d sockets left out: no tar can hold one")
	remark(st.Changed, "%d files became shorter meanwhile: they were filled up with zeros")
	remark(st.Devices, "%d devices: import takes them by --devices only")
	remark(st.Outward, "%d symbolic links that lead out of the volume: import takes them by --outward-links only")
	if lost := st.Lost.String(); lost != "" {
		m.Remarks = append(m.Remarks, "not kept: "+lost)
	}
	return m
}

// ExportVolume writes what a volume, or a snapshot (VOLUME@SNAP), holds as an archive.
func (e *Engine) ExportVolume(ctx context.Context, source string, to io.Writer, tell func(objects, bytes int64)) (Moved, error) {
	var told func(archive.Stats)
	if tell != nil {
		told = func(st archive.Stats) { tell(st.Objects, st.Bytes) }
	}
	st, pointInTime, err := e.volumes().Export(ctx, source, to, told)
	if err != nil {
		return Moved{}, blame("export "+source, err)
	}
	m := moved(st)
	if !pointInTime {
		m.Remarks = append(m.Remarks, "no point in time: the volume was in use meanwhile")
	}
	name, _, _ := strings.Cut(source, "@")
	e.note(TypeVolume, "export", name, map[string]string{"from": source, "sha256": st.Digest})
	return m, nil
}

// ImportOptions say what an archive may bring besides files.
type ImportOptions struct {
	Devices bool
	Outward bool  // symbolic links that lead out of the volume
	MaxSize int64 // in bytes; 0: what is free
	Tell    func(objects, bytes, read int64)
}

// ImportVolume makes a volume of an archive, or fills an empty one.
func (e *Engine) ImportVolume(ctx context.Context, name string, from io.Reader, o ImportOptions) (Moved, error) {
	if err := volumes.CheckName(name); err != nil {
		return Moved{}, blame("import "+name, err)
	}
	u := archive.UnpackOptions{Devices: o.Devices, Outward: o.Outward, MaxSize: o.MaxSize}
	if o.Tell != nil {
		u.Tell = func(st archive.Stats, read int64) { o.Tell(st.Objects, st.Bytes, read) }
	}
	v, made, st, err := e.volumes().Import(ctx, name, from, u)
	if err != nil {
		return Moved{}, blame("import "+name, fmt.Errorf("%w: nothing of it was kept", err))
	}
	if made {
		e.note(TypeVolume, "create", v.Name, map[string]string{"driver": v.Driver})
		err = e.indexVolumes(v.Name)
	}
	e.note(TypeVolume, "import", v.Name, map[string]string{"sha256": st.Digest})
	st.Outward, st.Devices = 0, 0 // they are what was asked for
	return moved(st), blame("import "+name, err)
}
