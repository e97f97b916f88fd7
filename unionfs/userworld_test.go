package unionfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

// owners say whose the layers are in a plain user's world.
type owners uint8

const (
	some  owners = iota // most are his, the rest is root's and closed to his writing
	his                 // all are his
	roots               // all are root's, but for the directories to which a suite confines itself
)

// chown gives the layers to whom they belong, and lets the plain user read what is root's.
func (b *built) chown(tops []string) error {
	return filepath.WalkDir(b.at("lower"), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		given := filepath.Base(p) == b.file || slices.Contains(tops, filepath.Base(p))
		switch {
		case b.whose == his || given:
			return os.Lchown(p, plainUser, plainUser)
		case b.whose == some && st.Uid == plainUser || d.Type() == fs.ModeSymlink:
			return nil
		case b.whose == roots:
			if err := os.Lchown(p, 0, 0); err != nil {
				return err
			}
		}
		if d.IsDir() {
			st.Mode |= 0o111
		}
		return unix.Chmod(p, st.Mode&0o7777|0o444)
	})
}

// notHis tells what a plain user's daemon can't do though he himself could in a plain directory (docs/semantics.md): what
// is root's can't be copied up, for the copy would be his; nor can anything in a directory that its own mode closes to
// him, nor can what is open in such a directory be looked at; of a listing that may be one name, "..".
func notHis(plain string, o op.Op, union op.Result) bool {
	if union.Errno != unix.EPERM && union.Errno != unix.EACCES && !strings.Contains(union.Out, unix.EACCES.Error()) {
		return false
	}
	if o.OnSlot() && o.Kind != op.Open && o.Kind != op.Tmpfile {
		return true // whose, and where, the open file is, the operation doesn't tell
	}
	for _, p := range o.Paths() {
		if o.Kind == op.Rename && belowNotHis(plain+"/"+p) || pathNotHis(plain, p, !o.OnlyLooks()) {
			return true
		}
	}
	return false
}

// pathNotHis says that a directory on the way to p is closed by its mode or, if changing it is what was asked for, that
// it or what p names is not his.
func pathNotHis(plain, p string, change bool) bool {
	real := filepath.Join(plain, p)
	if at, err := resolved(real); err == nil && at != real {
		if rel, err := filepath.Rel(plain, at); err == nil && rel != p && pathNotHis(plain, rel, change) {
			return true
		}
	}
	for at := real; len(at) > len(plain); at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err == nil && (at != real && closed(&st) || change && st.Uid != plainUser) {
			return true
		}
	}
	return false
}

// resolved follows symbolic links, also to what O_CREAT would make.
func resolved(p string) (string, error) {
	at, err := filepath.EvalSymlinks(p)
	if !errors.Is(err, fs.ErrNotExist) {
		return at, err
	}
	if target, err := os.Readlink(p); err == nil && !filepath.IsAbs(target) {
		p = filepath.Join(filepath.Dir(p), target)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(p))
	return filepath.Join(dir, filepath.Base(p)), err
}

// belowNotHis says that the directory at p is, or holds something, closed or not his: to move it may mean to copy up what
// is in it.
func belowNotHis(p string) bool {
	found := false
	_ = filepath.WalkDir(p, func(at string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(at, &st) == nil && (closed(&st) || st.Uid != plainUser) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

func closed(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o700 != 0o700
}

// asPlainUser runs do in a thread of its own that is the plain user: nobody else may enter his mount.
func asPlainUser(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its identity
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, plainUser, plainUser, plainUser}, {unix.SYS_SETRESUID, plainUser, plainUser, plainUser},
		} {
			if _, _, e := unix.RawSyscall(call[0], call[1], call[2], call[3]); e != 0 {
				panic(fmt.Sprintf("become the plain user: %v", e))
			}
		}
		do()
	}()
	<-done
}

// fuseSwitch is the mode of /dev/fuse while a test needs it: those of several worlds run side by side.
var fuseSwitch struct {
	sync.Mutex
	users int
	old   os.FileMode
	lock  *os.File
}

// fuseForAll opens /dev/fuse to plain users, as distributions do, until the test ends. Those of cmd/unionmount, and other
// runs, wait for their turn.
func fuseForAll(t *testing.T) {
	t.Helper()
	if err := useFuse(1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := useFuse(-1); err != nil {
			t.Error(err)
		}
	})
}

// useFuse counts a user more or less of the device, which is closed again after the last.
func useFuse(users int) error {
	const device = "/dev/fuse"
	s := &fuseSwitch
	s.Lock()
	defer s.Unlock()
	var err error
	switch {
	case users < 0 && s.users == 1:
		err = errors.Join(os.Chmod(device, s.old), s.lock.Close())
	case users > 0 && s.users == 0:
		var st os.FileInfo
		if s.lock, err = os.OpenFile(os.TempDir()+"/unionmount-test-dev-fuse.lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return err
		}
		if err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX); err == nil {
			st, err = os.Stat(device)
		}
		if err == nil {
			s.old = st.Mode().Perm()
			err = os.Chmod(device, 0o666)
		}
		if err != nil {
			return errors.Join(err, s.lock.Close())
		}
	}
	if err == nil {
		s.users += users
	}
	return err
}
