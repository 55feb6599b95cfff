package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// Sink delivers requests to one destination. It makes one attempt at a time and
// knows nothing of retries: these are the delivery's, written once.
//
// Send may be called from several goroutines at once, each with a Request of
// its own, up to the concurrency that the sink was configured with.
type Sink interface {
	// Send makes one attempt to deliver all records of req. It returns
	//   - nil when the destination has taken every record;
	//   - a *PartialError when it refused some records for good and has taken
	//     all the others;
	//   - a *PermanentError when it refused the request for good and it is not
	//     known which record is to blame: the delivery splits the request until
	//     a single record is, and dead-letters that one;
	//   - a *TooLargeError when the same records could pass in smaller requests;
	//   - any other error when the attempt may be repeated. An error that wraps
	//     a *RetryAfterError is repeated no earlier than it says.
	// Send returns soon after ctx is cancelled.
	Send(ctx context.Context, req *Request) error
}

// Grouper is implemented by sinks that cannot put every record into one request
// (one Loki stream a push, one file a write). Records whose keys differ never
// share a Request. A Request's Group holds the key.
type Grouper interface {
	// Group returns the key for the records of one stream of src. It must be
	// cheap, since it is called for each batch; it may be called from several
	// goroutines at once.
	Group(src *record.Source, stream record.Stream) string
}

// Beginner is implemented by sinks that have to bring their destination in line
// with the positions before the first request. Sinks of one name, of which one
// follows the other, are made before that is possible.
type Beginner interface {
	// Begin is called before anything else is asked of the sink, and what it
	// returns after the last request, when Run has returned.
	Begin() (end func())
}

// Starter is implemented by sinks that have work of their own (rotation,
// retention).
type Starter interface {
	// Run blocks until ctx is cancelled, or the sink can't go on. It is started
	// before the first Send and ended after the last one.
	Run(ctx context.Context) error
}

// Checker is implemented by sinks that can find out whether their destination
// would take records, without giving it any.
type Checker interface {
	// Check returns nil when it would, as far as that can be told, and else an
	// error that says what to do. It is called on a sink that does not run.
	Check(ctx context.Context) error
}

// Part is a run of a batch's records: those in [From, To) whose stream is in
// Streams.
type Part struct {
	Batch    *record.Batch
	From, To int
	Streams  record.StreamSet
}

// records returns the number of the part's records.
func (p *Part) records() int {
	n := 0
	for i := p.From; i < p.To; i++ {
		if p.Streams.Has(p.Batch.Records[i].Stream) {
			n++
		}
	}
	return n
}

// Request is what one attempt delivers. It and its buffers belong to the
// delivery worker, and a sink may use them only during Send.
type Request struct {
	// Parts are the records, in order.
	Parts []Part
	// Group is the Grouper's key, empty for a sink that is none.
	Group string
	// Body is a scratch buffer for the sink's encoding. It is kept from one
	// attempt to the next and from request to request. Where Encoded is set,
	// it holds what the sink encoded in an earlier attempt of these records.
	Body []byte
	// Encoded is set by a sink that wants to find its Body again when the same
	// records are tried again, and cleared by the delivery when they change.
	Encoded bool
	// Changes is filled by a sink that has facts of its own to commit in one
	// atomic step with the cursors of this request (the length of a file). It
	// is emptied by the delivery before each attempt.
	Changes []positions.Change
}

// All yields every record of the request with its batch, in order. The index
// that a PartialError names counts these.
func (r *Request) All() func(yield func(*record.Batch, *record.Record) bool) {
	return func(yield func(*record.Batch, *record.Record) bool) {
		for i := range r.Parts {
			p := &r.Parts[i]
			for j := p.From; j < p.To; j++ {
				rec := &p.Batch.Records[j]
				if p.Streams.Has(rec.Stream) && !yield(p.Batch, rec) {
					return
				}
			}
		}
	}
}

// Len returns the number of records.
func (r *Request) Len() int {
	n := 0
	for range r.All() {
		n++
	}
	return n
}

// PermanentError says that the destination will never take the request as it
// is.
type PermanentError struct {
	// Reason is a short label of bounded variety, for metrics ("bad_request").
	Reason string
	// Err is what the destination said.
	Err error
}

func (e *PermanentError) Error() string { return fmt.Sprintf("refused (%s): %v", e.Reason, e.Err) }
func (e *PermanentError) Unwrap() error { return e.Err }

// Refusal is one record that the destination refused for good.
type Refusal struct {
	// Index counts the records of Request.All from 0.
	Index int
	// Reason is a short label of bounded variety, for metrics.
	Reason string
	// Detail is what the destination said of it.
	Detail string
}

// PartialError says that the destination took every record but these.
type PartialError struct {
	// Refused are the refused records, by ascending Index.
	Refused []Refusal
}

func (e *PartialError) Error() string { return fmt.Sprintf("%d records refused", len(e.Refused)) }

// TooLargeError says that the request was too large for the destination.
type TooLargeError struct{ Err error }

func (e *TooLargeError) Error() string { return fmt.Sprintf("request too large: %v", e.Err) }
func (e *TooLargeError) Unwrap() error { return e.Err }

// RetryAfterError wraps a transient error of a destination that said when it
// wants to be asked again.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

func (e *RetryAfterError) Error() string {
	return fmt.Sprintf("%v (retry after %v)", e.Err, e.After)
}
func (e *RetryAfterError) Unwrap() error { return e.Err }

// retryAfter returns the delay that err asks for, zero when it asks for none.
func retryAfter(err error) time.Duration {
	if ra, ok := errors.AsType[*RetryAfterError](err); ok {
		return ra.After
	}
	return 0
}
