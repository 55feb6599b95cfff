// Package record holds what flows through the agent: log records, the batches
// that carry them, and the cursors that say how far a source has been read.
//
// It imports nothing of the project, and every other package may import it.
//
// # Ownership
//
// A Batch is made by a monitor, filled by it alone, and handed over once. From
// then on nobody changes it: sinks read it from several goroutines at once. It
// counts its holders, and its memory goes back to a pool when the last of them
// calls Release.
package record

import "time"

// Stream names one of a source's streams.
type Stream uint8

// The streams. Plain files have one stream, Stdout; so has a container with a
// TTY, whose engine does not tell the two apart.
const (
	Stdout Stream = iota
	Stderr

	// NumStreams is the number of streams that a source may have.
	NumStreams = 2
)

// String returns the stream's name as it appears in every output.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// StreamSet is a set of streams, as a bit mask.
type StreamSet uint8

// AllStreams holds every stream.
const AllStreams StreamSet = 1<<NumStreams - 1

// Only returns the set that holds s alone.
func Only(s Stream) StreamSet { return 1 << s }

// Has reports whether s is in the set.
func (set StreamSet) Has(s Stream) bool { return set&(1<<s) != 0 }

// Flags mark what is unusual about a record.
type Flags uint8

const (
	// Cut marks a record that was cut from a line longer than max_line_bytes
	// and is continued by the next record of its stream.
	Cut Flags = 1 << iota
	// Continued marks a record that continues the one before it.
	Continued
	// Unterminated marks a last line that never got its newline.
	Unterminated
)

// Record is one log line of a batch. Its bytes are in the batch's arena:
// Batch.Line returns them.
type Record struct {
	// Time is the line's time in nanoseconds since the Unix epoch, as the
	// container engine stamped it. A line of a plain file has that at which its
	// file was last written to when it was read.
	Time int64
	// Ordinal counts the records of this stream that had the same Time in an
	// unbroken run, from 1. Time and Ordinal together identify a record within
	// its stream.
	Ordinal uint32
	// Offset and Length locate the line in the arena, in bytes.
	Offset, Length uint32
	// Derived is the place of the record's Derivation in its batch, from 1; 0
	// for a record that no pipeline made. It is set by the batch.
	Derived uint32
	// Stream is the stream that the line was written to.
	Stream Stream
	// Flags mark what is unusual about the record.
	Flags Flags
}

// Timestamp returns the record's time.
func (r *Record) Timestamp() time.Time { return time.Unix(0, r.Time) }

// Source is what all records of a batch have in common. It is immutable: when
// a container is renamed, later batches point to another Source.
type Source struct {
	// Key identifies the source for good: "container/<id>" or "file/<path>".
	// Positions are kept by it and work is spread by it.
	Key string
	// Host is the name of the machine.
	Host string
	// FilePath is the path of a plain file, or of one that the kubelet keeps for a
	// container; empty for a container of the engine.
	FilePath string
	// Namespace, Pod and PodUID say which pod of Kubernetes a container belongs
	// to. They are empty where that is not known.
	Namespace, Pod, PodUID string
	// ContainerID is the full 64-digit id. It and what follows down to
	// ComposeService are empty for a plain file, but for ContainerName where the
	// file is that of a pod's container.
	ContainerID string
	// ContainerName is the name without the leading slash.
	ContainerName string
	// Image is the image reference that the container was made from.
	Image string
	// ComposeProject and ComposeService come from Compose's labels; both are
	// empty for a container that Compose did not make.
	ComposeProject, ComposeService string
	// Labels are the container's labels, or those that the configuration gives a
	// file. Do not modify.
	Labels map[string]string
}

// Name returns what people know the source by: the path of a file, or the name of
// a container.
func (s *Source) Name() string {
	if s.FilePath != "" {
		return s.FilePath
	}
	return s.ContainerName
}
