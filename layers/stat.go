package layers

import "github.com/unionmount/unionmount/layers/sys"

// Stat is a sys.Stat without loss in 88 bytes instead of 144: the kernel's own
// numbers of devices, links, block sizes and users have 32 bits (struct kstat,
// new_encode_dev). There is one for every file that is known.
type Stat struct {
	Ino          uint64
	Size, Blocks int64

	sec  [3]int64 // of access, modification, change
	nsec [3]uint32

	Mode, Nlink, Uid, Gid, Dev, Rdev, Blksize uint32
}

// Compact packs what fstatat(2) gave.
func Compact(st *sys.Stat) Stat {
	return Stat{
		Ino: st.Ino, Size: st.Size, Blocks: st.Blocks,
		sec:  [3]int64{st.Atim.Sec, st.Mtim.Sec, st.Ctim.Sec},
		nsec: [3]uint32{uint32(st.Atim.Nsec), uint32(st.Mtim.Nsec), uint32(st.Ctim.Nsec)},
		Mode: st.Mode, Nlink: uint32(st.Nlink), Uid: st.Uid, Gid: st.Gid,
		Dev: uint32(st.Dev), Rdev: uint32(st.Rdev), Blksize: uint32(st.Blksize),
	}
}

// Full unpacks it.
func (s *Stat) Full() sys.Stat {
	st := sys.Stat{
		Ino: s.Ino, Size: s.Size, Blocks: s.Blocks, Mode: s.Mode, Uid: s.Uid, Gid: s.Gid,
		Dev: uint64(s.Dev), Rdev: uint64(s.Rdev),
	}
	// Their types differ between architectures.
	setInt(&st.Nlink, s.Nlink)
	setInt(&st.Blksize, s.Blksize)
	for i, t := range [...]*sys.Timespec{&st.Atim, &st.Mtim, &st.Ctim} {
		t.Sec, t.Nsec = s.sec[i], int64(s.nsec[i])
	}
	return st
}

func setInt[T uint32 | uint64 | int32 | int64](to *T, v uint32) { *to = T(v) }
