package transport

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestParseCPUs(t *testing.T) {
	for in, want := range map[string][]int{
		"0": {0}, "0-3": {0, 1, 2, 3}, "0-1,4": {0, 1, 4}, "2,5-6": {2, 5, 6},
		"": nil, "a": nil, "3-1": nil, "1-": nil, "-1": nil,
	} {
		got, err := parseCPUs(in)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
}

// TestPace: polling goes on while it pays, becomes rare when it doesn't, and comes back.
func TestPace(t *testing.T) {
	var p pace
	polls := func(requests int) (n int) {
		for range requests {
			if p.worth() {
				n++
				p.miss(false)
			}
		}
		return n
	}
	if n := polls(10_000); n > 50 {
		t.Errorf("%d of 10000 requests polled for in vain", n)
	}
	for !p.worth() {
	}
	for range goodRun {
		p.hit()
	}
	p.miss(false)
	if !p.worth() {
		t.Error("one miss after a good run ended polling")
	}
	for range goodRun {
		p.hit()
	}
	p.miss(true)
	if p.worth() {
		t.Error("polling goes on though others wanted the processor")
	}
}

// TestWaits: INTERRUPT may be read before its request has come to wait, and the end of the mount ends all.
func TestWaits(t *testing.T) {
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	var w waits
	a := w.begin(2)
	if closed(a) {
		t.Error("stopped at once")
	}
	w.interrupt(2)
	w.interrupt(4)
	if !closed(a) || !closed(w.begin(4)) {
		t.Error("an interrupt was lost")
	}
	b := w.begin(6)
	w.done(6)
	w.interrupt(6)
	if closed(b) {
		t.Error("stopped after its end")
	}
	c := w.begin(8)
	w.cancelAll()
	if !closed(c) || !closed(w.begin(10)) {
		t.Error("the mount's end didn't stop a wait")
	}
}

// message builds a request as the device gives it.
func message[T any](op uint32, in T, after string) *request {
	size := max(int(unsafe.Sizeof(in)), int(inHeaderSize))
	b := make([]byte, bufferSize(0))
	*(*T)(ptr(b)) = in
	h := header(b)
	h.Opcode, h.NodeId, h.Unique = op, 1, 2
	n := size + copy(b[size:], after)
	h.Length = uint32(n)
	return &request{head: h, in: b[:n], out: make([]byte, 128<<10)}
}

// TestNoAllocation: a hot request allocates nothing but its name.
func TestNoAllocation(t *testing.T) {
	s := &Server{cfg: Config{FS: plain{fuse.NewDefaultRawFileSystem()}, Options: options(),
		Read: func(_ *fuse.ReadIn, buf []byte, _ bool) (int, fuse.Status) { return len(buf), fuse.OK }}}
	forgets := make([]byte, 8+2*16)
	binary.NativeEndian.PutUint32(forgets, 2)
	for name, c := range map[string]struct {
		r    *request
		most float64
	}{
		"LOOKUP":       {message(opLookup, fuse.InHeader{}, "file\x00"), 1},
		"GETATTR":      {message(opGetattr, fuse.GetAttrIn{}, ""), 0},
		"SETATTR":      {message(opSetattr, fuse.SetAttrIn{}, ""), 0},
		"OPEN":         {message(opOpen, fuse.OpenIn{}, ""), 0},
		"READ":         {message(opRead, fuse.ReadIn{Size: 4096}, ""), 0},
		"WRITE":        {message(opWrite, fuse.WriteIn{Size: 4}, "data"), 0},
		"GETXATTR":     {message(opGetxattr, fuse.GetXAttrIn{Size: 100}, "security.capability\x00"), 0},
		"READDIRPLUS":  {message(opReaddirplus, fuse.ReadIn{Size: 4096}, ""), 0},
		"FORGET":       {message(opForget, fuse.ForgetIn{Nlookup: 1}, ""), 0},
		"BATCH_FORGET": {message(opBatchForget, fuse.InHeader{}, string(forgets)), 0},
		"RELEASE":      {message(opRelease, fuse.ReleaseIn{}, ""), 0},
		"UNLINK":       {message(opUnlink, fuse.InHeader{}, "file\x00"), 1},
		"RENAME":       {message(opRename, renameIn{}, "old\x00new\x00"), 2},
		"RENAME2":      {message(opRename2, fuse.RenameIn{}, "old\x00new\x00"), 2},
	} {
		if n := testing.AllocsPerRun(100, func() { s.handle(c.r) }); n > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, c.most)
		}
	}
}
