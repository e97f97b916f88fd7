package unionfs

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
)

// writer is a connection that holds data back, without a kernel.
type writer struct {
	t *testing.T
	*conn
	upper string
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	fs, d := threeDirs(t, true, nil)
	return &writer{t, &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}, d + "/upper/"}
}

// make makes a file last changed long ago, as the kernel tells it.
func (w *writer) make(nm string) (node uint64) {
	w.t.Helper()
	var entry fuse.EntryOut
	root := fuse.InHeader{NodeId: w.fs.union.root.id}
	if s := w.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: sys.S_IFREG | 0o644}, nm, &entry); !s.Ok() {
		w.t.Fatal(s)
	}
	w.setMtime(entry.NodeId, 1_000_000_000)
	return entry.NodeId
}

func (w *writer) setMtime(node, at uint64) {
	w.t.Helper()
	in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: fuse.InHeader{NodeId: node}, Valid: fuse.FATTR_MTIME, Mtime: at}}
	if s := w.SetAttr(nil, in, new(fuse.AttrOut)); !s.Ok() {
		w.t.Fatal(s)
	}
}

// arrive writes what was held back.
func (w *writer) arrive(node uint64) {
	w.t.Helper()
	in := &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: node}, Size: 4, WriteFlags: fuse.WRITE_CACHE}
	if n, s := w.Write(nil, in, []byte("late")); n != 4 || !s.Ok() {
		w.t.Fatal(n, s)
	}
}

func (w *writer) wantMtime(nm string, node, shown uint64, disk func(now time.Time) bool) {
	w.t.Helper()
	var out fuse.AttrOut
	if s := w.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: node}}, &out); !s.Ok() || out.Mtime != shown {
		w.t.Errorf("%s: shown with mtime %d, %v; want %d", nm, out.Mtime, s, shown)
	}
	st, err := os.Stat(w.upper + nm)
	if err != nil {
		w.t.Fatal(err)
	}
	if !disk(st.ModTime()) {
		w.t.Errorf("%s: on the disk with mtime %v", nm, st.ModTime())
	}
}

func at(sec int64) func(time.Time) bool {
	return func(on time.Time) bool { return on.Equal(time.Unix(sec, 0)) }
}

func lately(on time.Time) bool { return time.Since(on) < time.Hour }

// TestOwedMtime: setting the mtime back after each WRITE of held back data made every fsync(2) write the inode besides,
// and half as many a second. The disk gets it when the descriptor is closed; till then only we know.
func TestOwedMtime(t *testing.T) {
	w := newWriter(t)
	const long, later = 1_000_000_000, 1_100_000_000
	file := w.make("file")
	w.arrive(file)
	w.wantMtime("file", file, long, lately)
	w.arrive(file)
	w.wantMtime("file", file, long, lately)
	w.setMtime(file, later)
	w.wantMtime("file", file, later, at(later))
	w.arrive(file)
	w.wantMtime("file", file, later, lately)

	size := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: fuse.InHeader{NodeId: file}, Valid: fuse.FATTR_SIZE, Size: 2}}
	if s := w.SetAttr(nil, size, new(fuse.AttrOut)); !s.Ok() {
		t.Fatal(s)
	}
	w.wantMtime("file", file, later, at(later)) // the kernel says nothing of an mtime that it leaves
	w.arrive(file)

	w.fs.data.max = 1
	other := w.make("other") // closes the first
	w.wantMtime("file", file, later, at(later))
	w.arrive(other)
	w.wantMtime("other", other, long, lately)
	if err := w.fs.Close(); err != nil {
		t.Fatal(err)
	}
	for nm, want := range map[string]int64{"file": later, "other": long} {
		if st, err := os.Stat(w.upper + nm); err != nil || !at(want)(st.ModTime()) {
			t.Errorf("%s: after unmounting it has mtime %v, %v", nm, st.ModTime(), err)
		}
	}
}

// flush sends what the kernel sends before an fsync(2), if a write has moved the times.
func (w *writer) flush(node uint64, at time.Time) (out fuse.AttrOut) {
	w.t.Helper()
	sec, nsec := uint64(at.Unix()), uint32(at.Nanosecond())
	in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: fuse.InHeader{NodeId: node}, Valid: fuse.FATTR_MTIME | fuse.FATTR_CTIME,
		Mtime: sec, Mtimensec: nsec, Ctime: sec, Ctimensec: nsec}}
	if s := w.SetAttr(nil, in, &out); !s.Ok() {
		w.t.Fatal(s)
	}
	return out
}

// TestFlushBeforeFsync: the flush of times before each fsync(2) set them on the disk and asked for them. Either made the
// next write dirty the inode, and each fsync wait for the journal: twice the time. Only the data goes to the disk.
func TestFlushBeforeFsync(t *testing.T) {
	w := newWriter(t)
	file := w.make("file")
	const pause = 2 * aMoment
	var now time.Time
	var out fuse.AttrOut
	for try := 0; try == 0 || time.Since(now) > aMoment; try++ { // a busy machine took too long
		if try == 100 {
			t.Fatal("no flush was answered in time")
		}
		w.arrive(file)
		time.Sleep(pause)
		now = time.Now()
		out = w.flush(file, now)
	}
	if out.Mtime != uint64(now.Unix()) || out.Ctimensec != uint32(now.Nanosecond()) || out.Size != 4 || out.Nlink != 1 {
		t.Errorf("the flush is answered with %+v", out.Attr)
	}
	if on := w.ctime("file"); now.Sub(on) < pause-aMoment {
		t.Errorf("the flush changed the inode, %v after the write", pause-now.Sub(on))
	}
	w.wantMtime("file", file, uint64(now.Unix()), lately)
	for try := 0; ; try++ {
		tick := clock(t, unix.CLOCK_REALTIME_COARSE)
		for range 20 {
			w.arrive(file)
			w.flush(file, clock(t, unix.CLOCK_REALTIME_COARSE))
		}
		if clock(t, unix.CLOCK_REALTIME_COARSE).Equal(tick) && w.ctime("file").Equal(tick) {
			break // all of them within one tick, and by its time
		}
		if try == 500 {
			t.Fatal("each write is stamped finer than by a tick of the clock")
		}
		time.Sleep(time.Millisecond)
	}
	if err := w.fs.Close(); err != nil {
		t.Fatal(err)
	}
	shown := clock(t, unix.CLOCK_REALTIME_COARSE)
	if st, err := os.Stat(w.upper + "file"); err != nil || shown.Sub(st.ModTime()) > time.Minute {
		t.Errorf("after unmounting: %v, %v", st.ModTime(), err)
	}
}

func (w *writer) ctime(nm string) time.Time {
	w.t.Helper()
	st, err := sys.StatAt(unix.AT_FDCWD, w.upper+nm)
	if err != nil {
		w.t.Fatal(err)
	}
	return time.Unix(st.Ctim.Unix())
}

func clock(t *testing.T, id int32) time.Time {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Unix(ts.Unix())
}

// TestFlushOfAnOwedMtime: FALLOCATE gave the disk the very mtime that the kernel then flushed, which was taken for a
// flush of nothing; at the end the disk got back what it had been owed before, or knew before it was owed anything.
func TestFlushOfAnOwedMtime(t *testing.T) {
	w := newWriter(t)
	flushed := map[string]time.Time{}
	for _, nm := range []string{"before", "after"} {
		file := w.make(nm)
		if nm == "before" {
			w.arrive(file)
		}
		if s := w.Fallocate(nil, &fuse.FallocateIn{InHeader: fuse.InHeader{NodeId: file}, Length: 8192}); !s.Ok() {
			t.Fatal(s)
		}
		st, err := os.Stat(w.upper + nm)
		if err != nil {
			t.Fatal(err)
		}
		now := st.ModTime()
		flushed[nm] = now
		w.flush(file, now)
		if nm == "after" {
			w.arrive(file)
		}
	}
	if err := w.fs.Close(); err != nil {
		t.Fatal(err)
	}
	for nm, want := range flushed {
		if st, err := os.Stat(w.upper + nm); err != nil || !st.ModTime().Equal(want) {
			t.Errorf("%s: after unmounting it has mtime %v, %v; flushed was %v", nm, st.ModTime(), err, want)
		}
	}
}

// TestNewFileIsOfNow: a new file was told to have the times of a moment before its directory's. So a write(2) right
// after, which the kernel stamps with the latest time that any file got in this tick of the clock, moved them, and each
// small file cost a SETATTR at its close(2).
func TestNewFileIsOfNow(t *testing.T) {
	w := newWriter(t)
	root := fuse.InHeader{NodeId: w.fs.union.root.id}
	const most, enough = 2000, 100
	older, checked := 0, 0
	for i := 0; i < most && checked < enough; i++ {
		var dir fuse.AttrOut
		if s := w.GetAttr(nil, &fuse.GetAttrIn{InHeader: root}, &dir); !s.Ok() { // as the kernel asks before each
			t.Fatal(s)
		}
		known := w.fs.fineStamps.Load()
		var made fuse.EntryOut
		if s := w.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: sys.S_IFREG | 0o644}, strconv.Itoa(i), &made); !s.Ok() {
			t.Fatal(s)
		}
		if s := w.GetAttr(nil, &fuse.GetAttrIn{InHeader: root}, &dir); !s.Ok() {
			t.Fatal(s)
		}
		told, changed := time.Unix(int64(made.Mtime), int64(made.Mtimensec)), time.Unix(int64(dir.Mtime), int64(dir.Mtimensec))
		if made.Mtime != made.Ctime || made.Mtimensec != made.Ctimensec {
			t.Errorf("a new file was changed after it was written: %+v", made.Attr)
		}
		switch {
		case known && told.Before(changed):
			t.Fatalf("a new file is older than its name, by %v", changed.Sub(told))
		case known:
			checked++
		case told.Before(changed): // before Linux 6.13 none is
			older++
		}
	}
	if checked < enough && older > 0 {
		t.Errorf("of %d files it was not seen that they were stamped too early", older)
	}
}
