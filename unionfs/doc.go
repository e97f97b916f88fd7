// Package unionfs serves one union over FUSE: the node tree, the tree's locks and every FUSE method.
package unionfs
