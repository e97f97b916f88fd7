// Package unionfs serves one union over FUSE: the node tree, all of its locks
// and every FUSE method. It knows neither the form of marks (package layers) nor
// how a change reaches the disk (package cow), and nothing of volumes' names: a
// volume is a tree of one writable layer that hangs on a node (route.go).
//
// Locks, to be acquired downwards only:
//
//	node.copyMu            one node at a time; held while staging, and while times are kept or set; ancestors are finished first, never nested
//	  FS.renameMu        read: derive an upper path, publish; write: rename, and publish several directories at once
//	    node.dirMu       parent before child; two directories only with renameMu write-held
//	      FS.countMu     the names of indexed hard links in upper and their count
//	      leaves         table.mu, data.mu, descriptors.mu, listing.mu, locks.mu, heldBack.mu
//
// Reads and writes of data hold no tree or node lock, but copyMu for what the kernel held back. No notification is
// sent to the kernel, but to fetch what it holds back (writeback.go): in the union
// nothing changes but through it, and nothing of a volume is cached.
//
// A node's entry is an immutable value behind an atomic pointer; a copy-up ends
// in one swap of it. A node's data is reached through descriptors that belong to
// the node, not to a handle: the kernel may never send OPEN.
package unionfs
