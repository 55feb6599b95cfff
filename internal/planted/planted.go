// Package planted says which fault is planted in this build of the agent: none,
// unless it was built with a tag that begins with planted_.
//
// The leak lab is only to be believed while it finds faults that are known to be
// there. Each tag plants one: those that the predecessor of this agent had, and
// some that it could have had. The code of a fault stands beside the code that
// it breaks, behind a comparison of constants: a build without the tag holds
// nothing of it, which a test of the lab proves.
package planted

// The faults. The tag of each is planted_ and its name.
const (
	// AbandonedStream: a rotation leaves its stream behind, open and read.
	AbandonedStream = "abandoned_stream"
	// ClientPerCall: a client of the engine is made for a call, and not closed.
	ClientPerCall = "client_per_call"
	// HeartbeatOutlives: each stream has a heartbeat of its own, which goes on
	// when the stream and the container are gone.
	HeartbeatOutlives = "heartbeat_outlives"
	// OneWaitGroup: the reader of a stream and a heartbeat that lives as long
	// as the agent are waited for together.
	OneWaitGroup = "one_wait_group"
	// UnclosedBody: the answer to a probe is neither read to its end nor
	// closed.
	UnclosedBody = "unclosed_body"
	// TimerNotStopped: each stream starts a timer that holds what the stream
	// held, and does not stop it.
	TimerNotStopped = "timer_not_stopped"
	// CursorBeforeDelivery: a cursor is saved before its records are delivered.
	CursorBeforeDelivery = "cursor_before_delivery"
	// DroppedLine: one line in a thousand is dropped.
	DroppedLine = "dropped_line"
	// RepeatedLine: one line in a thousand is sent twice.
	RepeatedLine = "repeated_line"
)
