package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// TestOutcomes says what becomes of the records a to f for everything that a
// destination can answer.
func TestOutcomes(t *testing.T) {
	input := []string{"a", "b", "c", "d", "e", "f"}
	type answer = func(context.Context, deliverytest.Attempt) error
	f := func(name string, answer answer, wantTaken string, wantDead []refused, wantAttempts ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, answer, nil)
				// The cursor stands nowhere but behind what somebody has.
				log := lines(input...)
				r.journal.Before(func(changes []positions.Change) error {
					at := deliverytest.Cursor(changes[len(changes)-1].Value).Streams[record.Stdout].Seq
					if have := len(r.destination.Taken()) + len(r.deadLetters()); at > uint64(have) {
						t.Errorf("the cursor moves to %d when %d records are delivered", at, have)
					}
					return nil
				})
				b := log.Read().Next(6)
				to := b.To
				r.start()
				r.give(b)
				r.drain()

				if got := strings.Join(r.destination.TakenLines(), ""); got != wantTaken {
					t.Errorf("taken %q, want %q", got, wantTaken)
				}
				if got := r.deadLetters(); !reflect.DeepEqual(got, wantDead) {
					t.Errorf("dead letters %+v, want %+v", got, wantDead)
				}
				var attempts []string
				for _, a := range r.destination.Attempts() {
					attempts = append(attempts, strings.Join(a.Lines(), ""))
				}
				if !slices.Equal(attempts, wantAttempts) {
					t.Errorf("attempts %q, want %q", attempts, wantAttempts)
				}
				if got := r.cursor(log); got != to {
					t.Errorf("cursor %+v, want %+v", got, to)
				}
				r.wantAccounts(delivery.Accounts{Accepted: 6, Acknowledged: uint64(len(wantTaken)), DeadLettered: uint64(len(wantDead))})
			})
		})
	}
	dead := func(line, reason, detail string) refused {
		return refused{Sink: "files", Reason: reason, Detail: detail, Source: "container/a", Stream: "stdout", Line: line}
	}
	has := func(a deliverytest.Attempt, line string) bool { return slices.Contains(a.Lines(), line) }
	first := func(err error) answer {
		return func(_ context.Context, a deliverytest.Attempt) error {
			if a.Number == 1 {
				return err
			}
			return nil
		}
	}

	f("taken", nil, "abcdef", nil, "abcdef")
	f("partial", first(&delivery.PartialError{Refused: []delivery.Refusal{{1, "late", "too old"}, {5, "label", "no such"}}}),
		"acde", []refused{dead("b", "late", "too old"), dead("f", "label", "no such")}, "abcdef")
	f("partial, wrapped", first(fmt.Errorf("push: %w", &delivery.PartialError{Refused: []delivery.Refusal{{0, "late", ""}}})),
		"bcdef", []refused{dead("a", "late", "")}, "abcdef")
	f("partial, all of them", first(&delivery.PartialError{Refused: []delivery.Refusal{
		{0, "x", ""}, {1, "x", ""}, {2, "x", ""}, {3, "x", ""}, {4, "x", ""}, {5, "x", ""}}}),
		"", []refused{dead("a", "x", ""), dead("b", "x", ""), dead("c", "x", ""), dead("d", "x", ""), dead("e", "x", ""), dead("f", "x", "")}, "abcdef")
	f("partial, none of them", first(&delivery.PartialError{}), "abcdef", nil, "abcdef")
	f("partial, one named twice", first(&delivery.PartialError{Refused: []delivery.Refusal{{1, "x", ""}, {1, "y", ""}, {2, "x", ""}}}),
		"adef", []refused{dead("b", "x", ""), dead("c", "x", "")}, "abcdef")
	f("permanent, one to blame", func(_ context.Context, a deliverytest.Attempt) error {
		if has(a, "d") {
			return &delivery.PermanentError{Reason: "bad_request", Err: errors.New("400: bad")}
		}
		return nil
	}, "abcef", []refused{dead("d", "bad_request", "400: bad")}, "abcdef", "abc", "def", "d", "ef")
	f("permanent, everything", func(context.Context, deliverytest.Attempt) error {
		return fmt.Errorf("push: %w", &delivery.PermanentError{Reason: "bad_request", Err: errors.New("bad")})
	}, "", []refused{dead("a", "bad_request", "bad"), dead("b", "bad_request", "bad"), dead("c", "bad_request", "bad"),
		dead("d", "bad_request", "bad"), dead("e", "bad_request", "bad"), dead("f", "bad_request", "bad")},
		"abcdef", "abc", "a", "bc", "b", "c", "def", "d", "ef", "e", "f")
	f("too large", func(_ context.Context, a deliverytest.Attempt) error {
		if len(a.Records) > 2 {
			return &delivery.TooLargeError{Err: errors.New("413")}
		}
		return nil
	}, "abcdef", nil, "abcdef", "abc", "a", "bc", "def", "d", "ef")
	f("too large alone", func(_ context.Context, a deliverytest.Attempt) error {
		if has(a, "b") {
			return &delivery.TooLargeError{Err: errors.New("413")}
		}
		return nil
	}, "acdef", []refused{dead("b", "too_large", "413")}, "abcdef", "abc", "a", "bc", "b", "c", "def")
	f("transient", func(_ context.Context, a deliverytest.Attempt) error {
		if a.Number < 4 {
			return errDown
		}
		return nil
	}, "abcdef", nil, "abcdef", "abcdef", "abcdef", "abcdef")
	f("transient within a split", func(_ context.Context, a deliverytest.Attempt) error {
		switch {
		case len(a.Records) > 3:
			return &delivery.TooLargeError{Err: errors.New("413")}
		case a.Number < 4:
			return errDown
		}
		return nil
	}, "abcdef", nil, "abcdef", "abc", "abc", "abc", "def")
}

// TestCursorAtSplit says that the cursor moves to the middle of a batch when
// only its beginning is delivered.
func TestCursorAtSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			switch {
			case len(a.Records) > 2:
				return &delivery.TooLargeError{Err: errors.New("413")}
			case slices.Contains(a.Lines(), "d"):
				return errDown
			}
			return nil
		}, nil)
		log := lines("a", "b", "c", "d", "e")
		log.Write(record.Stderr, 9, "f")
		b := log.Read().Next(6)
		want := b.CursorAt(3)
		r.start()
		r.give(b)
		time.Sleep(time.Minute)
		r.wantTaken("a", "b", "c")
		if got := r.cursor(log); got != want {
			t.Errorf("cursor %+v, want %+v", got, want)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 6, Acknowledged: 3, InMemory: 3})
		r.stop()

		r.destination.Answer = nil
		r.restart()
		r.give(log.Read(want).Next(6))
		r.drain()
		r.wantTaken("a", "b", "c", "d", "e", "f")
	})
}

// TestRetryPauses says that the pauses grow, are bounded, and are as long as
// the destination asks for.
func TestRetryPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 30
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			switch {
			case a.Number == 10:
				return fmt.Errorf("push: %w", &delivery.RetryAfterError{After: time.Hour, Err: errDown})
			case a.Number <= failures:
				return errDown
			}
			return nil
		}, nil)
		r.start()
		r.give(lines("a").Read().Next(1))
		r.drain()
		attempts := r.destination.Attempts()
		if len(attempts) != failures+1 {
			t.Fatalf("%d attempts, want %d", len(attempts), failures+1)
		}
		for i, a := range attempts[1:] {
			pause := a.At.Sub(attempts[i].At)
			low, high := time.Duration(1), min(time.Second<<i, 30*time.Second)
			if i+1 == 10 {
				low, high = time.Hour, time.Hour
			}
			if pause < low || pause > high+1 {
				t.Errorf("pause %d: %v, want between %v and %v", i+1, pause, low, high)
			}
		}
	})
}

// TestHangingAttempt says that an attempt is cut off after Timeout, and
// repeated.
func TestHangingAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, a deliverytest.Attempt) error {
			if a.Number == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}, nil)
		start := time.Now()
		r.start()
		r.give(lines("a").Read().Next(1))
		r.drain()
		r.wantTaken("a")
		if took := time.Since(start); took < 10*time.Second || took > 12*time.Second {
			t.Errorf("delivered after %v, want a little more than the timeout of 10s", took)
		}
	})
}

// TestChangesCommitWithCursor says that what a sink has to commit is in one
// step with the cursor of the same request, and with no other.
func TestChangesCommitWithCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			if n := len(a.Request.Changes); n != 0 {
				t.Errorf("attempt %d begins with %d changes of an earlier one", a.Number, n)
			}
			a.Request.Changes = append(a.Request.Changes, positions.Change{Key: "length", Value: fmt.Append(nil, a.Number)})
			switch {
			case a.Number == 1:
				return errDown
			case len(a.Records) == 4:
				return &delivery.TooLargeError{Err: errors.New("413")}
			}
			return nil
		}, nil)
		b := lines("a", "b", "c", "d").Read().Next(4)
		want := []string{fmt.Sprint("length=3 cursor=", 2), fmt.Sprint("length=4 cursor=", 4)}
		r.start()
		r.give(b)
		r.drain()
		var got []string
		for _, changes := range r.journal.Commits() {
			var all []string
			for _, c := range changes {
				if c.Key == "length" {
					all = append(all, "length="+string(c.Value))
				} else {
					all = append(all, fmt.Sprint("cursor=", deliverytest.Cursor(c.Value).Streams[record.Stdout].Seq))
				}
			}
			got = append(got, strings.Join(all, " "))
		}
		if !slices.Equal(got, want) {
			t.Errorf("commits %q, want %q", got, want)
		}
	})
}

// TestBodyIsKeptForTheSameRecords says when a sink may send its encoding again.
func TestBodyIsKeptForTheSameRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			records := strings.Join(a.Lines(), "")
			if a.Request.Encoded && string(a.Request.Body) != records {
				t.Errorf("attempt %d finds %q encoded for %q", a.Number, a.Request.Body, records)
			}
			if again := a.Number%2 == 0; a.Request.Encoded != again {
				t.Errorf("attempt %d: Encoded = %v", a.Number, a.Request.Encoded)
			}
			a.Request.Body, a.Request.Encoded = append(a.Request.Body[:0], records...), true
			switch {
			case a.Number%2 == 1:
				return errDown
			case len(a.Records) > 2:
				return &delivery.TooLargeError{Err: errors.New("413")}
			}
			return nil
		}, nil)
		r.start()
		reader := lines("a", "b", "c", "d", "e").Read()
		r.give(reader.Next(4))
		time.Sleep(time.Hour)
		r.give(reader.Next(1))
		r.drain()
		r.wantTaken("a", "b", "c", "d", "e")
	})
}
