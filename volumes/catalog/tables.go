package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTables verifies the index of each table before badger opens it. Badger
// does the same in a goroutine of its own and panics there, which nobody can
// recover from. The layout is that of badger's table/builder.go: index, its
// length, checksum, its length.
func checkTables(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, t := range tables {
		data, err := os.ReadFile(t)
		if err != nil {
			return err
		}
		if err := checkTable(data); err != nil {
			return &brokenError{fmt.Errorf("table %s: %w", t, err)}
		}
	}
	return nil
}

func checkTable(data []byte) error {
	checksum, rest, ok := lastPart(data)
	if !ok {
		return errors.New("no checksum")
	}
	index, _, ok := lastPart(rest)
	if !ok {
		return errors.New("no index")
	}
	var want pb.Checksum
	if err := proto.Unmarshal(checksum, &want); err != nil {
		return err
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return fmt.Errorf("checksum of unknown kind %d", want.Algo)
	}
	return y.VerifyChecksum(index, &want)
}

// lastPart cuts off what stands before its own length at the end of data.
func lastPart(data []byte) (part, rest []byte, ok bool) {
	end := len(data) - 4
	if end < 0 {
		return nil, nil, false
	}
	n := int64(binary.BigEndian.Uint32(data[end:]))
	if n == 0 || n > int64(end) {
		return nil, nil, false
	}
	return data[end-int(n) : end], data[:end-int(n)], true
}
