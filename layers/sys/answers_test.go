package sys_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestAnswersOfOneThatDies: a server that dies while it is asked is dead; the
// request itself ends with ECONNABORTED, and umount left such a mount in place.
func TestAnswersOfOneThatDies(t *testing.T) {
	if os.Getuid() != 0 {
		suite.Absent(t, "root")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		suite.Absent(t, "/dev/fuse: "+err.Error())
	}
	at := t.TempDir()
	if err := unix.Mount("dies", at, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	request := make([]byte, 1<<17)
	read := func() (unique uint64) {
		if _, err := unix.Read(fd, request); err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint64(request[8:])
	}
	// struct fuse_out_header, then fuse_init_out of version 7.31.
	answer := make([]byte, 16+64)
	binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
	binary.NativeEndian.PutUint64(answer[8:], read())
	binary.NativeEndian.PutUint32(answer[16:], 7)
	binary.NativeEndian.PutUint32(answer[20:], 31)
	if _, err := unix.Write(fd, answer); err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- sys.Answers(at) }()
	read() // it is asked
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != unix.ENOTCONN {
		t.Errorf("it answers %v, want ENOTCONN", err)
	}
}
