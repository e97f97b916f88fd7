// Package transport is how requests arrive: it carries them from the kernel to a
// fuse.RawFileSystem and the answers back. It knows the wire, not the file system.
//
// There are two ways, and a connection has one of them. The device (device.go,
// poll.go): readers on /dev/fuse, one of which polls for some microseconds before
// it sleeps, as long as that pays. The ring (queue.go, ring.go): FUSE over io_uring,
// where a thread on the client's own processor answers.
//
// A hot request is decoded here (dispatch.go), without a lock that all requests
// share and without an allocation but for names, which the file system may keep.
// All others, INIT among them, go through go-fuse's ProtocolServer.
package transport
