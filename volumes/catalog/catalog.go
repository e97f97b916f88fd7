// Package catalog keeps the records of mounts and volumes in a badger database
// below a root. It is a catalogue, not the truth: every record can be made again
// from the directories, and nothing is ever deleted for lack of one.
//
// Badger has one opener at a time, so a command opens it for one short
// transaction and closes it; waiting commands queue on a lock file of ours. A
// serving daemon and the mount-helper form never open it.
package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// patience is how long a command waits for others to be done with the catalogue.
const patience = 2 * time.Minute

// Tx is one transaction. It is valid only inside Update's function.
type Tx struct{ txn *badger.Txn }

// Update runs f in one transaction on the catalogue below root and commits it
// durably if f succeeds. rebuild, if not nil, refills a catalogue that had to be
// set aside because badger can't read it, or that is new.
func Update(root string, rebuild, f func(Tx) error) error {
	dir := filepath.Join(root, "catalog")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open the catalogue: %w", err)
	}
	unlock, err := lock(filepath.Join(root, "catalog.lock"))
	if err != nil {
		return fmt.Errorf("open the catalogue: %w", err)
	}
	defer unlock()
	db, fresh, err := open(dir)
	if err != nil {
		return fmt.Errorf("open the catalogue: %w", err)
	}
	err = db.Update(func(txn *badger.Txn) error {
		if fresh && rebuild != nil {
			if err := rebuild(Tx{txn}); err != nil {
				return err
			}
		}
		return f(Tx{txn})
	})
	return errors.Join(err, db.Close())
}

// lock queues on a file: flock(2) wakes its waiters in turn.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(end) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// open opens the database; one that can't be read is set aside, never deleted.
func open(dir string) (db *badger.DB, fresh bool, err error) {
	_, statErr := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	fresh = errors.Is(statErr, fs.ErrNotExist)
	if db, err = badger.Open(settings(dir)); err == nil {
		return db, fresh, nil
	}
	aside := fmt.Sprintf("%s.broken-%d", dir, time.Now().UnixNano())
	if renameErr := os.Rename(dir, aside); renameErr != nil {
		return nil, false, errors.Join(err, renameErr)
	}
	fmt.Fprintf(os.Stderr, "unionmount: open the catalogue: %v: set aside as %s and made anew from the directories\n", err, aside)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, false, err
	}
	db, err = badger.Open(settings(dir))
	return db, true, err
}

// settings keep badger small and durable. CompactL0OnClose: without it an open
// takes ten times as long after some hundred commands.
func settings(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(nil).WithSyncWrites(true).WithCompactL0OnClose(true).
		WithNumMemtables(1).WithMemTableSize(1 << 20).WithValueThreshold(1 << 10).
		WithValueLogFileSize(1 << 20).WithNumCompactors(2).
		WithNumLevelZeroTables(1).WithNumLevelZeroTablesStall(4).
		WithBlockCacheSize(0).WithIndexCacheSize(0).
		WithCompression(options.None).WithMetricsEnabled(false)
}

// Put records a value.
func (t Tx) Put(kind, name string, value []byte) error {
	return t.txn.Set([]byte(kind+"/"+name), value)
}

// Delete removes a record; one that isn't there is no error.
func (t Tx) Delete(kind, name string) error { return t.txn.Delete([]byte(kind + "/" + name)) }

// Each calls visit for every record of a kind, by name.
func (t Tx) Each(kind string, visit func(name string, value []byte) error) error {
	it := t.txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	prefix := []byte(kind + "/")
	for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
		name := strings.TrimPrefix(string(it.Item().Key()), string(prefix))
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	return nil
}
