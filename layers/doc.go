// Package layers tells what is there: the read side of a stack of directories.
// It knows the marks that overlay file systems leave on disk (whiteouts, opaque
// directories, redirects, origins, the index of hard links) and draws one inode
// number for every object. It knows nothing of FUSE, nodes, locks or volumes,
// and writes nothing; package cow is the only writer.
//
// Entries are immutable values. A Stack is safe for concurrent use; the caller
// keeps names in the upper from changing during one call (unionfs's renameMu).
//
// The reference for every mark is the kernel's fs/overlayfs and
// Documentation/filesystems/overlayfs.rst; other forms are named where they are read.
package layers
