package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/unionmount/unionmount/volumes"
)

// The list is a copy of the catalogue's records of all volumes in one file, for a
// quick ls of very many. It holds as long as no name came or went in the
// directory of the volumes: its first field is that directory's stamp. A file that
// was changed in place shows once it doesn't hold any more, or by recover.
const listFile = "volumes.list"

// writeList replaces the list. Nobody misses it after a crash.
func (e *Engine) writeList(stamp volumes.Stamp, all []volumes.Volume) error {
	out := bytes.NewBuffer(make([]byte, 0, 160*len(all)))
	field := func(text []byte) {
		out.Write(binary.AppendUvarint(nil, uint64(len(text))))
		out.Write(text)
	}
	field([]byte(recordForm + " " + stamp.String()))
	field([]byte(strconv.Itoa(len(all))))
	for i := range all {
		text, ok := volumeText(volumes.Stamp{}, &all[i])
		if !ok {
			return nil
		}
		field([]byte(all[i].Name))
		field(text)
	}
	path := filepath.Join(e.Root, listFile)
	if err := os.WriteFile(path+".new", out.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readList reads the list if it still holds; briefly, without labels and options.
func (e *Engine) readList(brief bool) (all []volumes.Volume, ok bool, err error) {
	stamp := e.volumes().DirStamp()
	if stamp == (volumes.Stamp{}) {
		return nil, false, nil
	}
	data, err := os.ReadFile(filepath.Join(e.Root, listFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	text := string(data) // once: the records share it
	field := func() (f string, ok bool) {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return "", false
		}
		f = text[size : size+int(n)]
		data, text = data[size+int(n):], text[size+int(n):]
		return f, true
	}
	if head, ok := field(); !ok || head != recordForm+" "+stamp.String() {
		return nil, false, nil
	}
	count, _ := field()
	n, err := strconv.ParseUint(count, 10, 24)
	if err != nil {
		return nil, false, nil
	}
	for all = make([]volumes.Volume, 0, n); len(data) > 0; {
		name, ok1 := field()
		record, ok2 := field()
		v, ok3 := parseVolume(record, name, nil, brief)
		if !ok1 || !ok2 || !ok3 {
			return nil, false, nil // cut short: it is made anew
		}
		all = append(all, v)
	}
	return all, uint64(len(all)) == n, nil // cut between two records: made anew too
}
