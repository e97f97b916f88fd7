package transport

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// streams remembers where the latest large reads ended. One that goes on from there was asked for ahead of the client,
// which is busy with the last; any other one it waits for, and has no use for its processor meanwhile.
type streams struct {
	mu   sync.Mutex
	ends [4]streamEnd // guarded by mu
	next int          // of ends, to be forgotten; guarded by mu
}

type streamEnd struct{ node, offset uint64 }

// goesOn notes a read and tells whether it goes on where another ended.
func (s *streams) goesOn(in *fuse.ReadIn) bool {
	end := streamEnd{in.NodeId, in.Offset + uint64(in.Size)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.ends {
		if s.ends[i] == (streamEnd{in.NodeId, in.Offset}) {
			s.ends[i] = end
			return true
		}
	}
	s.ends[s.next] = end
	s.next = (s.next + 1) % len(s.ends)
	return false
}
