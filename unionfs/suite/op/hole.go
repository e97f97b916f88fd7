package op

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// seekHole asks for data or holes and judges the answer by the content: where filesystems see holes differs, but a
// hole reads as zeros, and what SEEK_DATA skips is a hole. The file position is put back.
func seekHole(f *file, o Op) Result {
	if f.kind != unix.S_IFREG {
		return Result{Out: "not a file"}
	}
	data, err := f.whole()
	if err == unix.EBADF {
		return Result{Out: "not readable"}
	}
	if err != nil {
		return failed(err)
	}
	pos, err := unix.Seek(f.fd, 0, unix.SEEK_CUR)
	if err != nil {
		return failed(err)
	}
	got, seekErr := unix.Seek(f.fd, o.Off, o.Flags)
	if _, err := unix.Seek(f.fd, pos, unix.SEEK_SET); err != nil {
		return failed(err)
	}
	if seekErr != nil && (seekErr != unix.ENXIO || o.Off >= int64(len(data)) || o.Off < 0) {
		return failed(seekErr)
	}
	return Result{Out: judgeSeek(data, o, got, seekErr)}
}

// judgeSeek says "true", or how the answer contradicts the content.
func judgeSeek(data []byte, o Op, got int64, err error) string {
	size := int64(len(data))
	switch {
	case err != nil && o.Flags == unix.SEEK_HOLE:
		return "no hole at the end of the file"
	case err != nil:
		got = size // ENXIO: all the rest is a hole
	case got < o.Off || got > size:
		return fmt.Sprintf("%d is outside of the file's %d bytes", got, size)
	}
	if o.Flags == unix.SEEK_HOLE {
		if got < size && data[got] != 0 {
			return fmt.Sprintf("data at %d, in a hole", got)
		}
		return "true"
	}
	for i := o.Off; i < got; i++ {
		if data[i] != 0 {
			return fmt.Sprintf("data at %d, skipped", i)
		}
	}
	return "true"
}
