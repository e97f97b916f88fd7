// Package tree walks, copies and builds directory trees exactly: owners, modes,
// times, extended attributes with ACLs and capabilities, hard links, holes, special
// files. It knows nothing of volumes: a name is a name, whatever it is for others.
//
// Every path is resolved beneath a root's descriptor without following a link, so
// that neither a hostile tree nor one that changes meanwhile leads elsewhere.
// Directories are not held open: depth costs no descriptors.
package tree
