package sys

import "golang.org/x/sys/unix"

// RaiseNoFile lifts the soft limit of descriptors to the hard one and returns it.
func RaiseNoFile() (uint64, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, err
	}
	lim.Cur = lim.Max
	return lim.Cur, unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
}

// RoomForDescriptors makes the process's table of descriptors as large as n need. It grows by doubling otherwise, and each
// time whoever opens a file waits for a grace period of RCU (expand_fdtable), with all that waits for him: 6 to 20 ms.
// It takes as long itself.
func RoomForDescriptors(n uint64) error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer Close(fd) // an eventfd has nothing to lose
	last, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(n)-1)
	if err != nil {
		return err
	}
	return Close(last)
}

// Memory is the machine's memory in bytes.
func Memory() int64 {
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info) // fails for a bad address alone
	return int64(info.Totalram) * int64(info.Unit)
}
