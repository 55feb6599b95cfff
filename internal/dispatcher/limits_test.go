package dispatcher_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/limit"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

// limited runs a dispatcher with one sink and a limit for each source.
func limited(t *testing.T, rate limit.Rate, use func(*dispatcher.Dispatcher, *deliverytest.Destination)) {
	synctest.Test(t, func(t *testing.T) {
		sink := &deliverytest.Destination{}
		d := delivery.New(options("sink", sink, deliverytest.NewJournal(), noDeadLetters{t}))
		door := dispatcher.New([]*delivery.Delivery{d})
		door.LimitSources(rate)
		g := lifetime.NewGroup(context.Background())
		g.Go("delivery", d.Run)
		use(door, sink)
		d.CloseInput()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// A source that brings too much waits, and no other one does.
func TestLimitedSourceWaits(t *testing.T) {
	limited(t, limit.Rate{Records: 10}, func(door *dispatcher.Dispatcher, sink *deliverytest.Destination) {
		loud, quiet := recordtest.NewLog("container/loud").Fill(100), recordtest.NewLog("container/quiet").Fill(10)
		began := time.Now()
		reader := loud.Read()
		for range 10 {
			if err := door.Accept(context.Background(), reader.Next(10)); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began).Round(100 * time.Millisecond); took < 8*time.Second || took > 9*time.Second {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := door.Accept(ctx, quiet.Read().Next(10)); err != nil {
			t.Errorf("the quiet one: %v", err)
		}
		if err := door.Accept(ctx, loud.Fill(10).Read().Next(10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the loud one: %v", err)
		}
		time.Sleep(time.Second)
		if n := len(sink.TakenLines()); n != 110 {
			t.Errorf("%d lines", n)
		}
	})
}

// What a source brings too much is dropped and counted, and what comes later is
// delivered, once.
func TestLimitedSourceDrops(t *testing.T) {
	limited(t, limit.Rate{Records: 10, Drop: true}, func(door *dispatcher.Dispatcher, sink *deliverytest.Destination) {
		log := recordtest.NewLog("container/loud").Fill(120)
		reader := log.Read()
		for _, n := range []int{4, 26, 70} { // all of the first, a part of the second, none of the third
			if err := door.Accept(context.Background(), reader.Next(n)); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(2 * time.Second)
		if err := door.Accept(context.Background(), reader.Next(20)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		for s := range record.Stream(record.NumStreams) {
			lines := log.Lines(s)
			if got, want := sink.TakenOf(log.Source.Key, s), append(lines[:5:5], lines[50:55]...); !slices.Equal(got, want) {
				t.Errorf("%v: %q, want %q", s, got, want)
			}
		}
		err := testutil.CollectAndCompare(door, strings.NewReader(`
# HELP log_capturer_records_dropped_total Records that were given up, by where and why.
# TYPE log_capturer_records_dropped_total counter
log_capturer_records_dropped_total{reason="rate_limit",sink="",stage="source"} 100
`))
		if err != nil {
			t.Error(err)
		}
		// What was dropped last is passed by the next records.
		if known, err := door.Resume(log.Source.Key, record.Cursor{}); err != nil || len(known) != 1 || known[0].Total() != 110 {
			t.Errorf("%v, %+v", err, known)
		}
	})
}
