// Package suite says when a test may be skipped and whether a daemon raced. Below it are the importable suites that prove a union by comparing it with a
// plain copy of the same tree. They know two directory paths and nothing of this project, so that they run on any
// filesystem: on ours, on kernel overlayfs, on two plain directories.
//
//	treehash  what a tree is, to the last attribute; and what differs between two
//	startree  layers to start from, and the plain copy that a union of them must equal
//	op        one operation, executed on one side
//	worker    the processes that execute operations
//	model     random operations on both sides: one at a time, concurrently, and across crashes
//	exercise  one file, as fsx does it
package suite
