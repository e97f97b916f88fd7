package unionfs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers/sys"
)

// While the kernel holds data back it keeps a file's mtime itself, and tells us with a SETATTR when it has changed. What
// it held back may arrive after that and moves the mtime on the disk, which the next mount would show: it is set back.
//
// Not at once: that would dirty the inode, for each fsync(2) to write, where data that is written twice in one tick of
// the clock leaves it clean. Nor does a WRITE ask for the times: whoever asks has the next write be stamped finer than
// that tick (fill_mg_cmtime, Linux 6.13), and so dirties the inode as well. So the mtime is owed to the disk until
// the descriptor that wrote is closed; all that is told of the file meanwhile is told with it.

// mtime is what the kernel shows of a file. It is immutable.
type mtime struct {
	at   sys.Timespec
	owed bool // the disk has another
}

// owing writes held back data by d and keeps the mtime as the kernel shows it.
func (n *node) owing(d *desc, write func() (int, error)) (int, error) {
	u := n.use()
	u.copyMu.Lock() // a flush of times that came in between would be undone
	defer u.copyMu.Unlock()
	m := u.data.mtime.Load()
	if m == nil {
		st, err := sys.StatFd(d.fd)
		if err != nil {
			return 0, err
		}
		m = &mtime{at: st.Mtim}
	}
	done, err := write()
	if !m.owed {
		m = &mtime{at: m.at, owed: true}
	}
	u.data.mtime.Store(m)
	if !u.data.keeps(d) { // nobody would close it but us
		u.data.payMtime(d.fd)
	}
	return done, err
}

// keeps tells whether the node's descriptor for writing is d.
func (d *nodeData) keeps(x *desc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wr == x
}

// payMtime gives the disk the mtime that it is owed.
func (d *nodeData) payMtime(fd int) {
	m := d.mtime.Load()
	if m == nil || !m.owed || !d.mtime.CompareAndSwap(m, &mtime{at: m.at}) {
		return
	}
	_ = sys.UtimesFd(fd, sys.Timespec{Nsec: sys.UTIME_OMIT}, m.at) // the data is there, whatever this says
}

// settingMtime notes that the kernel sets n's mtime, by do. Caller holds copyMu.
func (n *node) settingMtime(at sys.Timespec, do func() error) error {
	if at.Nsec == sys.UTIME_OMIT {
		return do()
	}
	d := &n.use().data
	if at.Nsec == sys.UTIME_NOW {
		d.mtime.Store(nil)
		return do()
	}
	m := &mtime{at: at, owed: true} // for who closes the descriptor meanwhile
	d.mtime.Store(m)
	err := do()
	if err != nil {
		d.mtime.Store(nil)
		return err
	}
	d.mtime.CompareAndSwap(m, &mtime{at: at})
	return nil
}

// flushedMtime notes that the kernel's mtime of n is what the disk has already, or is owed.
func (n *node) flushedMtime(at sys.Timespec) {
	u := n.used.Load()
	if u == nil || u.data.mtime.Load() == nil {
		return
	}
	u.copyMu.Lock()
	defer u.copyMu.Unlock()
	if m := u.data.mtime.Load(); m != nil && !m.owed {
		u.data.mtime.Store(&mtime{at: at})
	}
}

// putsOff answers the flush of times before an fsync(2) of what was just written (fuse_fsync, fuse_flush_times)
// without touching the disk, which has the time when that arrived, a moment later: the mtime is owed. What a write moves is
// mtime and ctime to the same time; a utimensat(2) that looks the same wants what is given here.
func (fs *FS) putsOff(n *node, in *fuse.SetAttrIn) (st sys.Stat, ok bool) {
	at := mtimeOf(in)
	u := n.used.Load()
	if u == nil || !onlyTimes(in) || uint64(at.Sec) != in.Ctime || uint32(at.Nsec) != in.Ctimensec ||
		time.Since(time.Unix(at.Unix())) > aMoment || n.entry.Load().Index() != "" {
		return st, false
	}
	d := n.kept()
	if d == nil {
		return st, false
	}
	defer d.release()
	u.copyMu.Lock()
	defer u.copyMu.Unlock()
	if m := u.data.mtime.Load(); m == nil || !m.owed {
		return st, false
	}
	st, err := sys.StatUntimed(d.fd)
	if err == nil {
		st, err = fs.countNames(n, n.entry.Load(), st)
	}
	if err != nil {
		return st, false
	}
	u.data.mtime.Store(&mtime{at: at, owed: true})
	if !u.data.keeps(d) { // nobody would close it but us
		u.data.payMtime(d.fd)
	}
	st.Mtim, st.Ctim = at, at
	return st, true
}

// statNew stats an object that has just been made. A file whose times the kernel will keep is made as of now first.
//
// A directory whose times were asked for is stamped finer than the clock's tick when a name is made in it (Linux 6.13), and from
// then on until the next tick everything is stamped with that time at least (ktime_get_coarse_real_ts64_mg). The file
// was stamped a moment earlier: so the first write(2) would move its times, and close(2) send them, one request of
// the six that making a small file took.
func (fs *FS) statNew(fd int, file bool) (st sys.Stat, err error) {
	keeps := file && fs.writeback()
	if keeps && fs.fineStamps.Load() {
		now := sys.Timespec{Nsec: sys.UTIME_NOW}
		_ = sys.UtimesFd(fd, now, now) // a request more is all that this saves
	}
	if st, err = sys.StatAt(fd, ""); err == nil && keeps && !fs.fineStamps.Load() && finer(st.Mtim) {
		fs.fineStamps.Store(true)
	}
	return st, err
}

// finer tells whether at is later than the clock's last tick, with which kernels stamped until Linux 6.13.
func finer(at sys.Timespec) bool {
	tick := sys.Tick()
	return at.Nano() > tick.Nano()
}

// forgetMtime says that the disk is about to have another mtime than the kernel was told, and the right one.
func (n *node) forgetMtime() {
	if u := n.used.Load(); u != nil {
		u.data.mtime.Store(nil)
	}
}

// shownMtime is the mtime that the kernel shows of n, of which the disk has another; ok is false if it has the same.
func (n *node) shownMtime() (at sys.Timespec, ok bool) {
	u := n.used.Load()
	if u == nil {
		return at, false
	}
	m := u.data.mtime.Load()
	if m == nil || !m.owed {
		return at, false
	}
	return m.at, true
}
