package volumes

import (
	"fmt"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// Stamp tells whether an options file is still the one that was read: it is written
// once, so its inode and the time of its last change are enough.
type Stamp struct {
	Ino       uint64
	Sec, Nsec int64
}

func (s Stamp) String() string { return fmt.Sprintf("%d %d.%09d", s.Ino, s.Sec, s.Nsec) }

// Stamp is that of one volume.
func (s *Store) Stamp(name string) (stamp Stamp) {
	dir, err := sys.Open(s.dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return stamp
	}
	defer sys.Close(dir)
	return stampAt(dir, name)
}

func stampAt(dir int, name string) (stamp Stamp) {
	if st, err := sys.StatAt(dir, name+"/"+optionsFile); err == nil {
		stamp = Stamp{st.Ino, st.Ctim.Sec, st.Ctim.Nsec}
	}
	return stamp
}

// tick is the coarsest clock that a file system may take its times from.
const tick = 20 * time.Millisecond

// DirStamp tells whether names came or went since it was taken; zero if they may
// just be doing so, within one tick of the file system's clock.
func (s *Store) DirStamp() (stamp Stamp) {
	now := time.Now()
	fd, err := sys.Open(s.dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return stamp
	}
	defer sys.Close(fd)
	if st, err := sys.StatAt(fd, ""); err == nil && now.Sub(time.Unix(st.Mtim.Unix())) > tick {
		stamp = Stamp{st.Ino, st.Mtim.Sec, st.Mtim.Nsec}
	}
	return stamp
}

// Stamps returns the stamp of each volume's options file without reading it, in
// the order of Names; zero where there is none.
func (s *Store) Stamps() (names []string, stamps []Stamp, err error) {
	names, err = s.Names()
	if err != nil || len(names) == 0 {
		return names, nil, err
	}
	dir, err := sys.Open(s.dir, sys.O_PATH|sys.O_DIRECTORY)
	if err != nil {
		return nil, nil, err
	}
	stamps = make([]Stamp, len(names))
	for i, n := range names {
		stamps[i] = stampAt(dir, n)
	}
	return names, stamps, sys.Close(dir)
}
