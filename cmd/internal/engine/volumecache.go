package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/volumes"
	"github.com/unionmount/unionmount/volumes/catalog"
)

// The list is a copy of the catalogue's records of all volumes in one file, for a
// quick ls of very many. Its head is the stamp of the directory of the volumes that has
// just these names. If that has another, the names are compared, and what the list
// lacks is read from its directory: so it is right after a command that made a volume,
// too. A file that was changed in place shows by recover.
const (
	listFile = "volumes.list"
	listForm = "2"
	listHead = 64 // bytes: it is written over in place
	listLack = 64 // more than so many names that it hasn't are for the catalogue to read
)

func (e *Engine) listPath() string { return filepath.Join(e.Root, listFile) }

// dropList makes the next listing read the catalogue: before a name goes that may come
// back as another volume's while the commands that do it are killed.
func (e *Engine) dropList() { _ = os.Remove(e.listPath()) }

func listHeadOf(stamp volumes.Stamp) []byte {
	return fmt.Appendf(nil, "%-*s", listHead, listForm+" "+stamp.String())
}

// writeList replaces the list by what the catalogue has. Nobody misses it after a crash; where it can't be
// written (a read-only root, a full disk) there is none, and listings take longer.
func (e *Engine) writeList(tx catalog.Tx, stamp volumes.Stamp) {
	n := 0
	out := bytes.NewBuffer(listHeadOf(stamp))
	field := func(text []byte) {
		out.Write(binary.AppendUvarint(nil, uint64(len(text))))
		out.Write(text)
	}
	err := tx.Each(kindVolume, func(name string, text []byte) error {
		field([]byte(name))
		field(text)
		n++
		return nil
	})
	field([]byte(strconv.Itoa(n))) // last: what is cut has none
	if err == nil {
		err = os.WriteFile(e.listPath()+".new", out.Bytes(), 0o600)
	}
	if err == nil {
		err = os.Rename(e.listPath()+".new", e.listPath())
	}
	if err != nil {
		e.dropList()
	}
}

// readList reads the list, and from their directories what it lacks; briefly, without labels
// and options. false: the catalogue must be read.
func (e *Engine) readList(brief bool) (all []volumes.Volume, broken error, ok bool) {
	stamp := e.volumes().DirStamp()
	f, data, err := openList(e.listPath())
	if err != nil {
		return nil, nil, false
	}
	defer f.Close()
	if all, ok = parseList(data, brief); !ok {
		return nil, nil, false
	}
	if stamp != (volumes.Stamp{}) && bytes.Equal(data[:listHead], listHeadOf(stamp)) {
		return all, nil, true
	}
	all, same, broken, ok := e.brought(all)
	if ok && same && stamp != (volumes.Stamp{}) && e.volumes().DirStamp() == stamp {
		_, _ = f.WriteAt(listHeadOf(stamp), 0) // of this file: a newer one has another
	}
	return all, broken, ok
}

// openList reads the file, and keeps it open, to be written where that may be.
func openList(path string) (f *os.File, data []byte, err error) {
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		f, err = os.Open(path) // a read-only root
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil {
		data = make([]byte, st.Size())
		_, err = io.ReadFull(f, data)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, data, nil
}

func parseList(data []byte, brief bool) (all []volumes.Volume, ok bool) {
	if !bytes.HasPrefix(data, []byte(listForm+" ")) || len(data) < listHead {
		return nil, false
	}
	data = data[listHead:]
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
	all = make([]volumes.Volume, 0, len(data)/100)
	for {
		name, ok := field()
		if ok && len(data) == 0 {
			return all, name == strconv.Itoa(len(all))
		}
		record, ok2 := field()
		v, ok3 := parseVolume(record, name, nil, brief)
		if !ok || !ok2 || !ok3 {
			return nil, false // cut short
		}
		all = append(all, v)
	}
}

// brought brings the volumes of a list in step with the names there are. same: it was.
func (e *Engine) brought(listed []volumes.Volume) (all []volumes.Volume, same bool, broken error, ok bool) {
	at := make(map[string]int, len(listed))
	for i := range listed {
		at[listed[i].Name] = i
	}
	there := make([]bool, len(listed))
	var lacks []string
	err := e.volumes().EachName(func(name string) {
		if i, found := at[name]; found {
			there[i] = true
		} else {
			lacks = append(lacks, name)
		}
	})
	if err != nil || len(lacks) > listLack {
		return nil, false, nil, false
	}
	same = len(lacks) == 0 && !slices.Contains(there, false)
	all = listed[:0]
	for i := range listed {
		if there[i] {
			all = append(all, listed[i])
		}
	}
	for _, name := range lacks {
		v, err := e.volumes().Get(name)
		switch {
		case errors.Is(err, volumes.ErrNotFound):
		case err != nil:
			broken = errors.Join(broken, blame("volume "+name, err))
		default:
			i, _ := slices.BinarySearchFunc(all, name, func(v volumes.Volume, name string) int { return strings.Compare(v.Name, name) })
			all = slices.Insert(all, i, v)
		}
	}
	return all, same, broken, true
}
