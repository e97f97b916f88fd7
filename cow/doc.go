// Package cow tells how it changes: it is the only writer of an upper. It knows
// nothing of FUSE, inode numbers or volumes' names.
//
// Every change of names has one visible step, a rename or a link of an object
// that is finished (owner, mode, times, attributes, content on disk). What comes
// before happens in work/work, where nobody looks; what comes after may be lost:
// the next OpenWriter sweeps it. A crash therefore leaves the old or the new state.
//
// Methods are safe for concurrent use as long as the caller keeps two calls off
// the same names (unionfs: renameMu, then the directory's lock). A writer of a
// volume ("plain") has no work directory: nothing is hidden there, so every
// change is made in place.
package cow
