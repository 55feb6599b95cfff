package deadletter

import (
	"time"

	"log_capturer/internal/record"
)

// Entry is a record that a destination refused for good.
type Entry struct {
	// Time is when it was refused.
	Time time.Time
	// Sink is the name of the sink that it was for.
	Sink string
	// Reason is a short label of bounded variety, Detail what the destination
	// said.
	Reason, Detail string
	// Source, Stream and RecordTime are the record's.
	Source     *record.Source
	Stream     record.Stream
	RecordTime time.Time
	// Line is the record's line. It is valid only during the call that the
	// entry is passed to.
	Line []byte
}
