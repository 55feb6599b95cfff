// Package sinktest is the suite that every sink passes: what the delivery and
// the users of the agent may rely on, whatever the destination is.
//
// A sink's package says in a Harness how a destination is started, how a sink to
// it is made, and how the destination is made to refuse, stall or fail. The suite
// runs the sink under the real delivery, compares every line that was written
// with what the destination holds, and asserts the accounting identity at the end
// of every run. What a sink cannot do stands in the harness as a Lack, with the
// reason and a test that shows it: nothing is left out silently.
//
// The package also has what harnesses share: a strict HTTP destination (Server)
// and certificates.
package sinktest

import (
	"crypto/tls"
	"testing"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
)

// Line is a line as a destination holds it.
type Line struct {
	// Source is the name of the container that wrote it.
	Source string
	Stream record.Stream
	Text   string
	// ID is the identity that it came with, where the protocol has one and it was
	// asked for.
	ID string
}

// Kind is what goes wrong with a request.
type Kind int

// The kinds of faults.
const (
	// None is a request that is served as it should.
	None Kind = iota
	// Busy is one that is turned away, to be tried again.
	Busy
	// Hang is one that is never answered.
	Hang
	// Lost is one that is stored and whose answer does not arrive.
	Lost
)

// Fault is what goes wrong with one request.
type Fault struct {
	Kind Kind
	// RetryAfter is when a busy destination wants to be asked again. Zero says
	// nothing about it.
	RetryAfter time.Duration
}

// Target is a running destination. Its methods may be called while it serves.
type Target interface {
	// Lines returns all lines that it holds, those of a source's stream in the
	// order of their arrival.
	Lines() []Line
	// Violations returns the mistakes that clients made in its protocol.
	Violations() []string
	// Requests returns how many requests carried records so far.
	Requests() int
	// Connections returns how many connections are open.
	Connections() int
	// SetFault says what goes wrong with the requests from now on; n counts
	// them from 0. Nil is nothing.
	SetFault(fault func(n int) Fault)
	// SetRefuse says which lines it refuses for good. Nil is none.
	SetRefuse(refuse func(text string) bool)
	// SetLimit sets the largest request that it takes, in bytes of its body
	// before compression; 0 is any.
	SetLimit(bytes int)
	// SetToken sets the credential that it wants from now on; empty is none.
	SetToken(token string)
	// Close ends it.
	Close()
}

// Connect says how a sink reaches its destination.
type Connect struct {
	// TLS is how the destination is recognised, where it speaks TLS.
	TLS httpclient.TLS
	// TokenFile holds the credential, empty for none.
	TokenFile string
}

// Feature is something that the suite tests and that not every sink can do.
type Feature string

// The features.
const (
	// PartialRefusal is refusing some records for good and taking the others.
	PartialRefusal Feature = "partial refusal"
	// TransientErrors are those that are tried again.
	TransientErrors Feature = "transient errors"
	// RetryAfter is a destination that says when to come back.
	RetryAfter Feature = "retry after"
	// Stalls are requests that are not answered: timeouts and cancellation.
	Stalls Feature = "stalls"
	// LostAnswers are requests that were stored and whose answer was lost.
	LostAnswers Feature = "lost answers"
	// TooLarge is a limit of the size of a request.
	TooLarge Feature = "too large"
	// Encryption is TLS.
	Encryption Feature = "encryption"
	// Credentials are tokens that are read from files.
	Credentials Feature = "credentials"
)

var features = []Feature{PartialRefusal, TransientErrors, RetryAfter, Stalls, LostAnswers, TooLarge, Encryption, Credentials}

// Lack is a feature that a sink does not have.
type Lack struct {
	// Reason says why.
	Reason string
	// Shown fails when the reason does not hold.
	Shown func(t *testing.T)
}

// Harness is what the suite has to know of a sink.
type Harness struct {
	// Start starts a destination, which speaks TLS when config is not nil.
	Start func(t *testing.T, config *tls.Config) Target
	// New returns a sink to it, which is closed at the end of the test.
	New func(t *testing.T, target Target, c Connect) delivery.Sink
	// Once says that records which are sent again are stored once.
	Once bool
	// Repeats says that the good records of a request that is refused in part
	// are stored, and stored again on the way to the refused one.
	Repeats bool
	// Patient is for a sink whose attempts do not fail by themselves while there
	// is hope, but wait for it until they are ended.
	Patient bool
	// SerialOnly is for a sink that takes one request at a time.
	SerialOnly bool
	// Lacks are the features that the sink does not have.
	Lacks map[Feature]Lack
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("order", func(t *testing.T) { testOrder(t, h) })
	t.Run("drain", func(t *testing.T) { testDrain(t, h) })
	t.Run("unreachable", func(t *testing.T) { testGone(t, h) })
	tests := map[Feature]func(*testing.T, Harness){
		PartialRefusal:  testPartialRefusal,
		TransientErrors: testTransientErrors,
		RetryAfter:      testRetryAfter,
		Stalls:          testStalls,
		LostAnswers:     testLostAnswers,
		TooLarge:        testTooLarge,
		Encryption:      testEncryption,
		Credentials:     testCredentials,
	}
	for _, f := range features {
		lack, lacking := h.Lacks[f]
		if !lacking {
			t.Run(string(f), func(t *testing.T) { tests[f](t, h) })
			continue
		}
		t.Run("no "+string(f), func(t *testing.T) {
			if lack.Reason == "" || lack.Shown == nil {
				t.Fatalf("the sink lacks %q without a reason that is shown", f)
			}
			t.Log(lack.Reason)
			lack.Shown(t)
		})
	}
}
