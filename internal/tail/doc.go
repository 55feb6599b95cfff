// Package tail reads logs that are files: those of containers, and plain ones.
//
// A Reader follows one log across its rotations, as a state machine that is
// stepped: Next gives bytes, or says that there are none now, that the log is
// gone, or that something is missing. A Set steps many Readers on a few
// goroutines, wakes them when the kernel tells of a change, looks at them by
// itself from time to time, and bounds the files that are open.
//
// # What it promises
//
// Bytes of a log come once and in order, over any of these: the file is renamed
// and replaced, copied and truncated, unlinked, rotated more than once between
// two looks, compressed with gzip. Reading can go on later, also in another
// process, from a Place. What cannot be known to be whole is told as a Gap, never
// passed over. docs/file-monitor.md names each case with what is lost in it.
//
// # How a file is known
//
// A file is opened first and looked at then, never the other way round. It is
// the one that was read when it has the same inode and the same bytes at its
// head and before the place; with another inode when it has these bytes (a copy,
// or the compressed form). Names say only where to look.
//
// What the bytes mean, where a line ends, and how far the reading is safe, is
// left to the caller.
package tail
