// Package positions is the journal of how far the agent has come: a small
// transactional key/value log on disk that holds a cursor for each source and
// sink, and the facts that sinks commit together with them.
//
// The package owns its directory and the files in it. It knows nothing of what
// keys and values mean. When to commit is the delivery's decision; what to do
// about a cursor that was lost is the monitor's.
//
// # What it promises
//
//   - A Commit is atomic: after any crash all of its changes are there or none.
//   - A Commit that returned outlives the process (kill -9): it was handed to
//     the kernel with one write(2).
//   - A Commit that failed did not happen: it is not seen by Get, and the next
//     one may succeed.
//   - A Commit before a Sync that returned nil outlives a loss of power.
//   - A Commit after the last Sync may be lost with the power, and then all
//     later ones are too. None survives whose own bytes survived by chance while
//     those that it stands for (see OnSync) did not.
//   - What recovery could not read is set aside under another name, counted and
//     reported by Recovery and Health. It never becomes "start from now" in
//     silence.
//
// # What is on disk
//
// One file, positions-<generation>.journal: a header, a snapshot of all keys at
// the moment the file was made, then a record for each Commit since. When the
// file has grown enough, a snapshot of what is live is written to a temporary
// file, fsynced, given the Commits that came meanwhile, renamed to the next
// generation, and the directory is fsynced; then the old file is removed. The
// file with the highest generation counts. format.go has the bytes.
//
// # What is assumed of a crash
//
// Of the process: what write(2) took is in the kernel and stays.
//
// Of the machine: what fsync(2) took stays, and a rename stays after an fsync of
// its directory. Of everything later any part may be missing, torn at any byte
// or replaced by zeros, in any order. A rename shows the old file or the new one.
// An fsync that failed has lost its bytes, whatever a later one returns, even in
// another process: the journal is then written anew, and so it is when a run
// finds records that the one before is not known to have fsynced.
//
// Of the medium: wrong bytes are found by CRC32C. A bad end of the file is taken
// for a torn write and cut off; bad bytes with good records after them are taken
// for corruption, unless they are newer than the last fsync and the machine was
// restarted since.
//
// The journal knows a restart of the machine by the kernel's boot ID. Where there
// is none it takes every crash for one of the process.
package positions
