package sinktest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"log_capturer/internal/delivery"
)

// outcome names what an error of Send means to the delivery.
func outcome(err error) string {
	if err == nil {
		return "taken"
	}
	if _, ok := errors.AsType[*delivery.PartialError](err); ok {
		return "partial"
	}
	if _, ok := errors.AsType[*delivery.PermanentError](err); ok {
		return "permanent"
	}
	if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
		return "too large"
	}
	return "transient"
}

// with runs a sink's own work, where it has some, and calls f with it. It ends
// the work before it returns.
func with(t *testing.T, sink delivery.Sink, f func()) {
	t.Helper()
	starter, ok := sink.(delivery.Starter)
	if !ok {
		f()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- starter.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the sink's run: %v", err)
		}
	}()
	f()
}

// Every line arrives once, those of a stream in order, from several containers
// at a time.
func testOrder(t *testing.T, h Harness) { RunOrder(t, h, 700) }

// RunOrder is the suite's test of order with about twice n lines, for tests in
// which something happens to the destination meanwhile.
func RunOrder(t *testing.T, h Harness, n int) {
	t.Helper()
	target := start(t, h)
	r := newRig(t, h, target, nil)
	r.run()
	for i, lines := range []int{n, n / 2, 1, n / 4} {
		r.write(newLog(fmt.Sprintf("c%d", i), lines), 60)
	}
	r.drain()
	r.check(false, nil)
	if target.Requests() < 4 {
		t.Errorf("%d requests: the test wants several", target.Requests())
	}
}

// What was accepted before the end is delivered before Run returns, also when
// the destination is slow to come up.
func testDrain(t *testing.T, h Harness) {
	target := start(t, h)
	if _, lacking := h.Lacks[TransientErrors]; !lacking {
		target.SetFault(func(n int) Fault {
			if n < 3 {
				return Fault{Kind: Busy}
			}
			return Fault{}
		})
	}
	r := newRig(t, h, target, nil)
	r.write(newLog("web", 400), 50)
	r.deliver.CloseInput()
	if a := r.deliver.Accounts(); a.InMemory != 400 {
		t.Fatalf("accounts %+v before the start", a)
	}
	r.run()
	r.drain()
	r.check(false, nil)
}

// A destination that is not there is waited for.
func testGone(t *testing.T, h Harness) {
	target := h.Start(t, nil)
	sink := h.New(t, target, Connect{})
	end(t, target)
	if target.Connections() < 0 {
		return // the destination is part of the process and always there
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	with(t, sink, func() {
		if err := sink.Send(ctx, requestFor(sink, 3)); outcome(err) != "transient" {
			t.Errorf("with nobody there: %v", err)
		}
	})
}

// A refused record costs only itself.
func testPartialRefusal(t *testing.T, h Harness) {
	target := start(t, h)
	bad := func(text string) bool {
		return strings.HasSuffix(text, " line 17") || strings.HasSuffix(text, " line 18") || strings.HasSuffix(text, " line 99")
	}
	target.SetRefuse(bad)
	r := newRig(t, h, target, nil)
	r.run()
	r.write(newLog("web", 200), 200)
	r.write(newLog("db", 10), 200)
	r.drain()
	r.check(h.Repeats, bad)

	all := newRig(t, h, target, nil)
	target.SetRefuse(func(string) bool { return true })
	before := len(target.Lines())
	all.run()
	all.write(newLog("refused", 9), 3)
	all.drain()
	if a := all.deliver.Accounts(); a.DeadLettered != 9 || a.Acknowledged != 0 {
		t.Errorf("of a destination that refuses everything: %+v", a)
	}
	if n := len(target.Lines()) - before; n != 0 {
		t.Errorf("%d lines were stored by a destination that refuses everything", n)
	}
}

// A destination that is busy now and then gets everything in order, and once.
func testTransientErrors(t *testing.T, h Harness) {
	target := start(t, h)
	target.SetFault(func(n int) Fault {
		if n%3 != 2 {
			return Fault{Kind: Busy}
		}
		return Fault{}
	})
	r := newRig(t, h, target, nil)
	r.run()
	r.write(newLog("web", 500), 40)
	r.write(newLog("db", 100), 40)
	r.drain()
	r.check(false, nil)
}

// The destination's own word of when to come back reaches the delivery.
func testRetryAfter(t *testing.T, h Harness) {
	target := start(t, h)
	target.SetFault(func(int) Fault { return Fault{Kind: Busy, RetryAfter: 7 * time.Second} })
	sink := h.New(t, target, Connect{})
	with(t, sink, func() {
		err := sink.Send(t.Context(), requestFor(sink, 3))
		after, ok := errors.AsType[*delivery.RetryAfterError](err)
		if !ok || after.After != 7*time.Second || outcome(err) != "transient" {
			t.Errorf("a busy destination that wants 7s: %v", err)
		}
	})
}

// A request that is not answered ends with its timeout and with its context, and
// its connection with it.
func testStalls(t *testing.T, h Harness) {
	target := start(t, h)
	target.SetFault(func(int) Fault { return Fault{Kind: Hang} })
	sink := h.New(t, target, Connect{})
	with(t, sink, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err := sink.Send(ctx, requestFor(sink, 3))
		if outcome(err) != "transient" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at its timeout: %v", err)
		}
	})

	sink = h.New(t, target, Connect{})
	with(t, sink, func() {
		before := target.Requests()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- sink.Send(ctx, requestFor(sink, 3)) }()
		Eventually(t, "the request has arrived", func() bool { return target.Requests() > before })
		cancel()
		select {
		case err := <-done:
			if outcome(err) != "transient" || !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		case <-time.After(Patience):
			t.Fatal("a cancelled Send does not return")
		}
	})
	target.SetFault(nil)

	// Under the delivery: what hangs is tried again and arrives.
	var hung atomic.Int32
	target = start(t, h)
	target.SetFault(func(n int) Fault {
		if n < 2 {
			hung.Add(1)
			return Fault{Kind: Hang}
		}
		return Fault{}
	})
	r := newRig(t, h, target, func(o *delivery.Options) { o.Timeout = 500 * time.Millisecond })
	r.run()
	r.write(newLog("web", 50), 50)
	r.drain()
	// On a slow machine further attempts may have timed out after the
	// destination had stored them.
	r.check(!h.Once, nil)
	if hung.Load() != 2 {
		t.Errorf("%d requests hung, want 2", hung.Load())
	}
}

// A request whose answer is lost is sent again: nothing is lost, and where the
// destination can tell, nothing is there twice.
func testLostAnswers(t *testing.T, h Harness) {
	target := start(t, h)
	target.SetFault(func(n int) Fault {
		if n == 1 || n == 2 {
			return Fault{Kind: Lost}
		}
		return Fault{}
	})
	r := newRig(t, h, target, func(o *delivery.Options) { o.Concurrency = 1 })
	r.run()
	r.write(newLog("web", 400), 50)
	r.drain()
	r.check(!h.Once, nil)
	if !h.Once && len(target.Lines()) == 400 {
		t.Error("nothing was repeated: the harness should say Once")
	}
}

// Requests shrink until they fit, and what does not fit alone is a dead letter.
func testTooLarge(t *testing.T, h Harness) {
	target := start(t, h)
	target.SetLimit(8 << 10)
	r := newRig(t, h, target, nil)
	r.run()
	// Some of its lines have 16,000 bytes.
	r.write(newLog("web", 300), 300)
	r.drain()
	dead := func(text string) bool { return len(text) > 8<<10 }
	r.check(false, dead)
	if r.deliver.Accounts().DeadLettered == 0 {
		t.Error("no line was too large: the test proves nothing")
	}
}
