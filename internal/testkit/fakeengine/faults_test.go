package fakeengine_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/fakeengine"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// lines returns n lines of stdout, a second apart, beginning with number from.
func lines(from, n int) (entries []fakeengine.Entry) {
	for i := range n {
		entries = append(entries, fakeengine.Line(record.Stdout, t0.Add(time.Duration(from+i)*time.Second), fmt.Sprint(from+i)))
	}
	return entries
}

// seen is what a reader of entries has to see.
func seen(entries []fakeengine.Entry) (want []entry) {
	for _, e := range entries {
		want = append(want, entry{e.Stream, e.Time, string(e.Data)})
	}
	return want
}

func followPath(c *fakeengine.Container) string {
	return "/containers/" + c.ID() + "/logs?follow=1&timestamps=1&" + both
}

func TestStreamsBreakOff(t *testing.T) {
	f := func(kind fakeengine.Fault, tty bool, want string, wantErr error) {
		t.Helper()
		e := fakeengine.New(t, fakeengine.Options{})
		c := e.Add(fakeengine.Config{TTY: tty, Log: lines(1, 5)})
		c.FailNext(kind, 2)
		a := newAPI(t, e.Host())
		body, err := io.ReadAll(a.get(t, followPath(c), http.StatusOK))
		if !errors.Is(err, wantErr) {
			t.Errorf("fault %d: %v, want %v", kind, err, wantErr)
		}
		good := ""
		for _, s := range []string{"2026-01-02T03:04:06.000000006Z 1\n", "2026-01-02T03:04:07.000000006Z 2\n"} {
			if !tty {
				s = "\x01\x00\x00\x00\x00\x00\x00\x21" + s
			}
			good += s
		}
		if string(body) != good+want {
			t.Errorf("fault %d: body %q, want %q", kind, body, good+want)
		}
		// The next one is well.
		stream := a.get(t, followPath(c), http.StatusOK)
		if !tty {
			expect(t, "the next stream", readEntries(t, stream, 5), seen(lines(1, 5)))
		}
		if got := c.Streams().Opened; got != 2 {
			t.Errorf("%d streams opened, want 2", got)
		}
	}
	f(fakeengine.End, false, "", nil)
	f(fakeengine.End, true, "", nil)
	f(fakeengine.Reset, false, "", io.ErrUnexpectedEOF)
	f(fakeengine.TornFrame, false, "\x01\x00\x00\x00\x00\x00\x00d2026-01-02T03:04:05.0", nil)
	f(fakeengine.TornFrame, true, "2026-01-02T03:04:05.0", nil)
	f(fakeengine.TornHeader, false, "\x01\x00\x00", nil)
	f(fakeengine.BadHeader, false, "\x09\x01\x02\x03\xff\xff\xff\xff", nil)
	f(fakeengine.EngineError, false, "\x03\x00\x00\x00\x00\x00\x00MError grabbing logs: invalid character '\\x00' looking for beginning of value\n", nil)
}

func TestBreakAndStall(t *testing.T) {
	e := fakeengine.New(t, fakeengine.Options{})
	c := e.Add(fakeengine.Config{Log: lines(1, 2)})
	a := newAPI(t, e.Host())
	stuck := a.get(t, followPath(c), http.StatusOK)
	readEntries(t, stuck, 2)
	c.Stall()
	c.Append(lines(3, 1)...)
	fresh := a.get(t, followPath(c)+"&tail=1", http.StatusOK)
	expect(t, "a later stream", readEntries(t, fresh, 1), seen(lines(3, 1)))
	got := make(chan []entry, 1)
	go func() { got <- readEntries(t, stuck, -1) }()
	select {
	case early := <-got:
		t.Errorf("the stalled stream delivered %v", early)
	case <-time.After(50 * time.Millisecond):
	}
	c.Break(fakeengine.End)
	expect(t, "the stalled stream after the break", <-got, nil)
}

func TestSinceFilterWhenTheClockStepsBack(t *testing.T) {
	f := func(once bool, want []fakeengine.Entry) {
		t.Helper()
		e := fakeengine.New(t, fakeengine.Options{SinceOnce: once})
		log := []fakeengine.Entry{
			fakeengine.Line(record.Stdout, t0, "a"),
			fakeengine.Line(record.Stdout, t0.Add(2), "b"),
			fakeengine.Line(record.Stdout, t0.Add(-5), "c"),
		}
		c := e.Add(fakeengine.Config{Log: log[:2]})
		stream := newAPI(t, e.Host()).get(t, followPath(c)+"&since="+unix(t0.Add(1)), http.StatusOK)
		got := readEntries(t, stream, 1)
		c.Append(log[2])
		c.Exit(0)
		expect(t, fmt.Sprint("once ", once), append(got, readEntries(t, stream, -1)...), seen(want))
	}
	f(false, []fakeengine.Entry{fakeengine.Line(record.Stdout, t0.Add(2), "b")})
	f(true, []fakeengine.Entry{fakeengine.Line(record.Stdout, t0.Add(2), "b"), fakeengine.Line(record.Stdout, t0.Add(-5), "c")})
}

func TestRotationDropsTheOldest(t *testing.T) {
	e := fakeengine.New(t, fakeengine.Options{})
	c := e.Add(fakeengine.Config{Log: lines(1, 10)})
	c.Rotate(3)
	a := newAPI(t, e.Host())
	expect(t, "what is left", a.entries(t, c.ID(), both), seen(lines(8, 3)))
	expect(t, "tail of it", a.entries(t, c.ID(), both+"&tail=2"), seen(lines(9, 2)))
	stream := a.get(t, followPath(c), http.StatusOK)
	readEntries(t, stream, 3)
	c.Append(lines(11, 2)...)
	c.Rotate(1)
	c.Exit(0)
	got := readEntries(t, stream, -1)
	if len(got) == 0 || got[len(got)-1] != seen(lines(12, 1))[0] {
		t.Errorf("a follower across a rotation got %v", got)
	}
}

func TestExitUnseenIsInTheLogOnly(t *testing.T) {
	e := fakeengine.New(t, fakeengine.Options{})
	c := e.Add(fakeengine.Config{Log: lines(1, 1)})
	a := newAPI(t, e.Host())
	stream := a.get(t, followPath(c), http.StatusOK)
	c.ExitUnseen(0, lines(2, 1)...)
	expect(t, "the follower", readEntries(t, stream, -1), seen(lines(1, 1)))
	expect(t, "the log", a.entries(t, c.ID(), both+"&follow=1"), seen(lines(1, 2)))
}

func TestEngineFaults(t *testing.T) {
	e := fakeengine.New(t, fakeengine.Options{})
	c := e.Add(fakeengine.Config{Log: lines(1, 1)})
	a := newAPI(t, e.Host())

	e.FailNext(fakeengine.List, 2, http.StatusInternalServerError, "boom")
	a.get(t, "/containers/json", http.StatusInternalServerError)
	a.get(t, "/containers/json", http.StatusInternalServerError)
	a.get(t, "/containers/json", http.StatusOK)

	c.SetState(fakeengine.Dead)
	a.get(t, followPath(c), http.StatusConflict)
	c.SetState(fakeengine.Running)

	e.Delay(fakeengine.Info, 30*time.Millisecond)
	begin := time.Now()
	a.get(t, "/info", http.StatusOK)
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("a delayed answer took %v", took)
	}

	stream := a.get(t, followPath(c), http.StatusOK)
	readEntries(t, stream, 1)
	e.Down()
	if _, err := io.ReadAll(stream); err == nil {
		t.Error("a stream ended well when the engine went down")
	}
	if _, err := a.Get("http://engine/_ping"); err == nil {
		t.Error("an engine that is down answers")
	}
	if got := e.Streams(); got != (fakeengine.Counts{Open: 0, Max: 1, Opened: 1}) {
		t.Errorf("counts %+v", got)
	}
	e.Up()
	expect(t, "after the engine is back", a.entries(t, c.ID(), both), seen(lines(1, 1)))
	if got := e.Requests(); got[fakeengine.List] != 3 || got[fakeengine.Logs] != 3 {
		t.Errorf("requests %v", got)
	}
}

func TestLostEventsAndCutStreams(t *testing.T) {
	e := fakeengine.New(t, fakeengine.Options{})
	a := newAPI(t, e.Host())
	body := a.get(t, "/events", http.StatusOK)
	enginetest.Eventually(t, time.Second, "the stream of events is open", func() bool { return e.EventStreams() == 1 })
	e.LoseEvents(true)
	c := e.Add(fakeengine.Config{})
	e.LoseEvents(false)
	e.CutEvents()
	if b, err := io.ReadAll(body); err != nil || len(b) != 0 {
		t.Errorf("events %q, %v", b, err)
	}
	c.Remove()
	a.get(t, "/containers/"+c.ID()+"/json", http.StatusNotFound)
}

// TestStrictness uses a stand-in for the test, since what is shown is that the
// test fails.
func TestStrictness(t *testing.T) {
	f := func(path string) {
		t.Helper()
		fake := &failures{TB: t}
		e := fakeengine.New(fake, fakeengine.Options{})
		resp, err := newAPI(t, e.Host()).Get("http://engine" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		e.Down()
		if fake.n == 0 || resp.StatusCode < 400 {
			t.Errorf("GET %s: %s, and %d failures of the test", path, resp.Status, fake.n)
		}
	}
	f("/images/json")
	f("/containers/json?al=1")
	f("/containers/x/logs?stdout=1&stdout=0")
	f("/events?filters=" + "%7B%22nope%22%3A%5B%22x%22%5D%7D")
}

type failures struct {
	testing.TB
	n int
}

func (f *failures) Errorf(string, ...any) { f.n++ }
