package dispatcher_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

// TestSinksComeAndGo says that a sink that is new begins where the source stands,
// also for the next process when its destination is down, and that one that is
// removed sends away who waits for it and keeps its cursor.
func TestSinksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		journal := deliverytest.NewJournal()
		down := func(context.Context, deliverytest.Attempt) error { return errDown }
		stays, fresh, goes := &deliverytest.Destination{}, &deliverytest.Destination{Answer: down}, &deliverytest.Destination{Answer: down}
		running := lifetime.NewGroup(t.Context())
		deliver := func(name string, to *deliverytest.Destination) *delivery.Delivery {
			d := delivery.New(options(name, to, journal, nil))
			running.Go("delivery", d.Run)
			return d
		}
		s, g := deliver("stays", stays), deliver("goes", goes)
		door := dispatcher.New([]*delivery.Delivery{s, g})
		log := recordtest.NewLog("container/a").Fill(60)
		if _, err := door.Resume(log.Source.Key, record.Cursor{}); err != nil {
			t.Fatal(err)
		}
		reader := log.Read()
		accept := func(n int) chan error {
			done := make(chan error, 1)
			b := reader.Next(n)
			go func() { done <- door.Accept(t.Context(), b) }()
			synctest.Wait()
			return done
		}
		var last chan error
		taken := 0
		for last == nil || len(last) > 0 { // until the window of the one that is down is full
			last = accept(4)
			taken += 4
		}
		if taken >= 50 {
			t.Fatal("the window of the sink that is down does not fill")
		}
		f := deliver("fresh", fresh)
		door.Use([]*delivery.Delivery{s, f})
		g.CloseInput()
		if err := <-last; err != nil {
			t.Errorf("Accept = %v", err)
		}
		at := reader.Cursor()
		if err := <-accept(4); err != nil {
			t.Errorf("Accept = %v", err)
		}
		time.Sleep(time.Second)
		if c, known, err := f.Cursor(log.Source.Key); err != nil || !known || !c.Reaches(at) || !at.Reaches(c) {
			t.Errorf("the new sink stands at %+v, %v, %v, want %+v", c, known, err, at)
		}
		if c, _, err := g.Cursor(log.Source.Key); err != nil || c.Total() != 0 {
			t.Errorf("the removed sink stands at %+v, %v", c, err)
		}
		all := slices.Concat(stays.TakenOf(log.Source.Key, record.Stdout), stays.TakenOf(log.Source.Key, record.Stderr))
		if len(all) != taken+4 {
			t.Errorf("the sink that stays has %d lines, want %d", len(all), taken+4)
		}
		running.Cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
}
