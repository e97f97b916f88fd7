// Package catalog keeps records in a badger database below a root. It is a
// catalogue, not the truth: every record can be made again from the directories,
// and nothing is ever deleted for lack of one.
//
// Badger has one opener at a time, so a command opens it for one short
// transaction and closes it; waiting commands queue on a lock file of ours. A
// serving daemon and the mount-helper form never open it. The functions are safe
// for concurrent use by many processes.
package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/unionmount/unionmount/layers/sys"
)

const (
	dirName = "catalog" // below the root; beside it the lock file

	// patience is how long a command waits for others to be done with the catalogue.
	patience = 2 * time.Minute
)

// ErrRefused: the system won't let the catalogue be opened (a full disk, a
// read-only file system, permissions). It isn't broken, and f has not run.
var ErrRefused = errors.New("open the catalogue")

// Tx is one transaction. It is valid only inside Update's function.
type Tx struct{ *transaction }

// transaction is badger's. It begins anew when it is full: what is written so far
// is durable then, which is no harm to records that can be made again.
type transaction struct {
	db   *badger.DB
	txn  *badger.Txn
	have []record // all records by key, as this transaction sees them: they are read once
}

type record struct {
	key   string
	value []byte
}

// find returns where key is, or belongs.
func (t *transaction) find(key string) (at int, found bool) {
	return slices.BinarySearchFunc(t.have, key, func(r record, key string) int { return strings.Compare(r.key, key) })
}

// Update runs f in one transaction on the catalogue below root and commits it
// durably if f succeeds (of some thousand changes at once, parts before that). rebuild, if not nil, refills a catalogue that had to be
// set aside because badger can't read it, or that is new. No two processes are
// inside at once, so f may also keep directories and records in step.
func Update(root string, rebuild, f func(Tx) error) error {
	if err := os.MkdirAll(filepath.Join(root, dirName), 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	unlock, err := lock(filepath.Join(root, dirName+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	dir := filepath.Join(root, dirName)
	fresh := isNew(dir)
	err = attempt(dir, fresh, rebuild, f)
	var broken *brokenError
	if !errors.As(err, &broken) {
		return err
	}
	if err := setAside(dir, broken.why); err != nil {
		return fmt.Errorf("open the catalogue: %w", err)
	}
	return attempt(dir, true, rebuild, f)
}

// brokenError says that badger can't make sense of its files; f has not run.
type brokenError struct{ why error }

func (e *brokenError) Error() string { return "broken catalogue: " + e.why.Error() }
func (e *brokenError) Unwrap() error { return e.why }

func attempt(dir string, fresh bool, rebuild, f func(Tx) error) error {
	if err := checkTables(dir); err != nil {
		return err
	}
	db, err := open(dir)
	if fresh && errors.Is(err, ErrRefused) {
		_ = os.RemoveAll(dir) // half made, it would pass for one that was filled
	}
	if err != nil {
		return err
	}
	tx := Tx{&transaction{db, db.NewTransaction(true), nil}}
	err = tx.run(fresh, rebuild, f)
	return errors.Join(err, db.Close())
}

func (t Tx) run(fresh bool, rebuild, f func(Tx) error) (err error) {
	defer func() { t.txn.Discard() }()
	if !fresh {
		if err := t.readAll(); err != nil {
			return &brokenError{err}
		}
	} else if rebuild != nil {
		if err := rebuild(t); err != nil {
			return err
		}
	}
	if err := f(t); err != nil {
		return err
	}
	return t.txn.Commit()
}

// Renew sets the catalogue below root aside, if there is one, and fills a new one.
// It tells where the old one is kept.
func Renew(root string, fill func(Tx) error) (aside string, err error) {
	dir := filepath.Join(root, dirName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("open the catalogue: %w", err)
	}
	unlock, err := lock(filepath.Join(root, dirName+".lock"))
	if err != nil {
		return "", fmt.Errorf("open the catalogue: %w", err)
	}
	defer unlock()
	if !isNew(dir) {
		if aside, err = moveAside(dir); err != nil {
			return "", fmt.Errorf("set the catalogue aside: %w", err)
		}
	}
	return aside, attempt(dir, true, nil, fill)
}

// readAll reads every record once: there are few, and a damaged block shows only when it is read.
func (t Tx) readAll() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	txn := t.db.NewTransaction(false) // nobody else writes: the lock is ours
	defer txn.Discard()
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		t.have = append(t.have, record{string(it.Item().Key()), value})
	}
	return nil
}

// lock waits for our turn. Waiters poll: a blocking flock(2) could not be given up.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := sys.Flock(int(f.Fd()), true)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if err != sys.EWOULDBLOK || time.Now().After(end) {
			_ = f.Close()
			return nil, fmt.Errorf("open the catalogue: lock %s: %w", path, err)
		}
	}
}

func isNew(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	return errors.Is(err, fs.ErrNotExist)
}

// open opens the database. What the system refuses (permissions, a full disk) is
// returned as it is; anything else means that the files are broken.
func open(dir string) (db *badger.DB, err error) {
	defer func() {
		// Badger asserts where it should return: a truncated file must not end the command.
		if p := recover(); p != nil {
			db, err = nil, &brokenError{fmt.Errorf("%v", p)}
		}
	}()
	db, err = badger.Open(settings(dir))
	switch {
	case err == nil || strings.Contains(err.Error(), "directory lock"):
		return db, err
	case refused(err):
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil, &brokenError{err}
}

// refused tells what the system forbids from what is broken. Badger prints some
// errors into the next, so that only their text is left.
func refused(err error) bool {
	var e sys.Errno
	if errors.As(err, &e) {
		return true
	}
	for _, e := range []sys.Errno{sys.ENOSPC, sys.EDQUOT, sys.EROFS, sys.EACCES, sys.EPERM, sys.EMFILE} {
		if strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// setAside moves a broken database away and says so; it is never deleted.
func setAside(dir string, why error) error {
	aside, err := moveAside(dir)
	if err == nil {
		fmt.Fprintf(os.Stderr, "unionmount: open the catalogue: %v: set aside as %s and made anew from the directories\n", why, aside)
	}
	return err
}

func moveAside(dir string) (aside string, err error) {
	aside = fmt.Sprintf("%s.broken-%d", dir, time.Now().UnixNano())
	if err := os.Rename(dir, aside); err != nil {
		return "", err
	}
	return aside, os.Mkdir(dir, 0o700)
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
	key := kind + "/" + name
	if at, found := t.find(key); found {
		t.have[at].value = value
	} else {
		t.have = slices.Insert(t.have, at, record{key, value})
	}
	return t.change(func() error { return t.txn.Set([]byte(key), value) })
}

// change makes room in the transaction if there is none.
func (t Tx) change(f func() error) error {
	err := f()
	if !errors.Is(err, badger.ErrTxnTooBig) {
		return err
	}
	if err := t.txn.Commit(); err != nil {
		return err
	}
	t.txn = t.db.NewTransaction(true)
	return f()
}

// Delete removes a record; one that isn't there is no error.
func (t Tx) Delete(kind, name string) error {
	key := kind + "/" + name
	at, found := t.find(key)
	if !found {
		return nil
	}
	t.have = slices.Delete(t.have, at, at+1)
	return t.change(func() error { return t.txn.Delete([]byte(key)) })
}

// Get returns a record; nil: there is none.
func (t Tx) Get(kind, name string) []byte {
	if at, found := t.find(kind + "/" + name); found {
		return t.have[at].value
	}
	return nil
}

// Each calls visit for every record of a kind, by name. visit must not change the catalogue.
func (t Tx) Each(kind string, visit func(name string, value []byte) error) error {
	at, _ := t.find(kind + "/")
	for _, r := range t.have[at:] {
		name, ok := strings.CutPrefix(r.key, kind+"/")
		if !ok {
			break
		}
		if err := visit(name, r.value); err != nil {
			return err
		}
	}
	return nil
}
