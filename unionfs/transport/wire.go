package transport

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Operations that are decoded or told apart here (include/uapi/linux/fuse.h, enum fuse_opcode).
const (
	opLookup        = 1
	opForget        = 2
	opGetattr       = 3
	opSetattr       = 4
	opReadlink      = 5
	opMknod         = 8
	opMkdir         = 9
	opUnlink        = 10
	opRmdir         = 11
	opRename        = 12
	opLink          = 13
	opOpen          = 14
	opRead          = 15
	opWrite         = 16
	opRelease       = 18
	opFsync         = 20
	opSetxattr      = 21
	opGetxattr      = 22
	opRemovexattr   = 24
	opFlush         = 25
	opInit          = 26
	opReaddir       = 28
	opFsyncdir      = 30
	opSetlkw        = 33
	opCreate        = 35
	opInterrupt     = 36
	opBatchForget   = 42
	opFallocate     = 43
	opReaddirplus   = 44
	opRename2       = 45
	opLseek         = 46
	opCopyFileRange = 47
	opTmpfile       = 51
)

const (
	inHeaderSize  = unsafe.Sizeof(fuse.InHeader{})
	outHeaderSize = unsafe.Sizeof(fuse.OutHeader{})

	pageSize = 4096 // on other machines data isn't aligned, no more

	// headRoom is more than any operation's own struct, and as much as FUSE_MIN_READ_BUFFER asks for.
	headRoom = 8192
)

// bufferSize is what one request may take.
func bufferSize(maxWrite int) int { return maxWrite + headRoom }

func ptr(b []byte) unsafe.Pointer          { return unsafe.Pointer(&b[0]) }
func header(b []byte) *fuse.InHeader       { return (*fuse.InHeader)(ptr(b)) }
func outHeader(b []byte) *fuse.OutHeader   { return (*fuse.OutHeader)(ptr(b)) }
func as[T any](r *request) *T              { return (*T)(unsafe.Pointer(r.head)) }
func sized[T any](r *request) (*T, []byte) { return as[T](r), r.after(unsafe.Sizeof(*new(T))) }

// renameIn is struct fuse_rename_in, behind its header.
type renameIn struct {
	fuse.InHeader
	newDir uint64
}

// request is one request and the room for its answer. It is used again for the next.
type request struct {
	head *fuse.InHeader // with the operation's own struct right behind it
	in   []byte         // the device: all of it, from head on; the ring: head and struct
	data []byte         // the ring: what follows the struct; the device: nil
	ring bool
	out  []byte // room for the answer, without its header. The ring: the memory of data

	now    bool // whoever answers must not wait
	status fuse.Status
	size   int    // of the answer in out
	silent bool   // nobody waits for an answer
	later  bool   // not answered: that would have meant to wait
	from   Source // of a read that the ring does

	dir  fuse.DirEntryList
	move fuse.RenameIn
}

// after is what follows an operation's struct: names, data.
func (r *request) after(size uintptr) []byte {
	if r.ring {
		return r.data
	}
	return r.in[size:]
}

// answerHead is the header of r's answer.
func answerHead(r *request) fuse.OutHeader {
	return fuse.OutHeader{Length: uint32(int(outHeaderSize) + r.size), Status: -int32(r.status), Unique: r.head.Unique}
}

// answer gives room for an answer of type T, zeroed.
func answer[T any](r *request) *T {
	out := (*T)(ptr(r.out))
	*out = *new(T)
	r.size = int(unsafe.Sizeof(*out))
	return out
}

// buffer is memory that is the kernel's to write to as well: it doesn't move, and
// takes no room until it is used.
func buffer(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
}
