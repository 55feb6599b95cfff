// Package spool is a queue on disk, one for each sink: what the sink has
// accepted, has no room for in memory, and has not delivered.
//
// It owns a directory and the segment files in it. An entry is a batch of
// records under one checksum; records are numbered from the spool's first to its
// last, and the numbers are in the names and headers of the files, so that what
// a damage has cost is counted exactly, from the gap that it leaves. What an
// entry holds is package record's; to whom and when it is delivered is the
// delivery's, and so is the cursor that says how far that has come.
//
// # What it promises
//
//   - An entry that Sync covered outlives a loss of power, until Done says that
//     it was delivered, or Drop that it was given up.
//   - Entries come back from Next in the order of Append, each once in a run.
//   - No byte is handed out whose checksum (CRC32C) was not checked when it was
//     read.
//   - An entry whose Sync failed does not exist in this run; it is appended
//     again. After a loss of power it may be found instead of that, or as well
//     when the second one was delivered: the cursors of the delivery tell.
//   - The files take no more than MaxBytes, but for a single entry that is
//     larger than that. Those that were set aside are not counted.
//   - What cannot be read is kept under another name, and its records are
//     counted. The rest of its segment, before and after, is delivered.
//
// docs/spool-format.md has the bytes, and what is assumed of a crash.
package spool
