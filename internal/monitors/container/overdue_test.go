package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// deaf is an Engine in which the streams of one container don't end when they
// are told to: neither by their context nor by being closed. They do when they
// are released, and may bring a last read then.
type deaf struct {
	Engine
	id string

	mu    sync.Mutex
	left  int           // streams that will be deaf
	freed chan struct{} // closed by release
	ended sync.WaitGroup
}

func (d *deaf) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id != d.id || !opts.Follow || d.left == 0 {
		return d.Engine.Logs(ctx, id, opts)
	}
	d.left--
	body, err := d.Engine.Logs(context.WithoutCancel(ctx), id, opts)
	if err != nil {
		return nil, err
	}
	d.ended.Add(1)
	return &deafBody{body, ctx, d}, nil
}

type deafBody struct {
	io.ReadCloser
	ctx context.Context
	d   *deaf
}

// Read reads what there is while the stream holds its lease. After that it
// hangs, and when it is freed it brings what came meanwhile.
func (b *deafBody) Read(p []byte) (int, error) {
	type read struct {
		n   int
		err error
	}
	reads := make(chan read, 1)
	go func() {
		n, err := b.ReadCloser.Read(p)
		reads <- read{n, err}
	}()
	select {
	case r := <-reads:
		if b.ctx.Err() == nil {
			return r.n, r.err
		}
		<-b.d.freed
		return r.n, r.err
	case <-b.ctx.Done():
		<-b.d.freed
		select {
		case r := <-reads:
			return r.n, r.err
		default:
			b.ReadCloser.Close()
			<-reads
			return 0, io.ErrUnexpectedEOF
		}
	}
}

func (b *deafBody) Close() error {
	defer b.d.ended.Done()
	return b.ReadCloser.Close()
}

// deafRig returns a rig of some containers, of which the first has streams that
// don't end, and the account of what is overdue.
func deafRig(t *testing.T, streams int) (*rig, *deaf, *lifetime.Watch, func()) {
	r := newRig(t, fakeengine.Options{})
	r.options.patience = 50 * time.Millisecond
	r.options.RotationInterval = 30 * time.Millisecond
	r.options.MaxStreams = 2
	var speakers []*speaker
	for range 4 {
		speakers = append(speakers, r.add(fakeengine.Config{}))
	}
	d := &deaf{Engine: r.spy, id: speakers[0].ID(), left: streams, freed: make(chan struct{})}
	r.options.Engine = d
	watch := lifetime.NewWatch(slog.New(slog.DiscardHandler))
	r.base = lifetime.WithWatch(context.Background(), watch)
	n := 0
	say := func() {
		n++
		for _, c := range speakers {
			c.say(record.Stdout, time.Now(), fmt.Sprint("line ", n))
		}
	}
	return r, d, watch, say
}

// A stream that does not close costs itself: the others are rotated, its
// container is read on by another stream, every line once, and what it brings
// when it ends after all is not taken twice.
func TestAStuckStreamCostsItselfOnly(t *testing.T) {
	r, d, watch, say := deafRig(t, 1)
	r.start()
	r.eventually("the stuck stream is given up", func() bool {
		say()
		return r.value("log_capturer_stream_reopens_total", "reason", "overdue") == 1
	})
	if n := watch.Counts()["stream"]; n != 1 {
		t.Errorf("%d streams are overdue, want 1", n)
	}
	current := watch.Current()
	if len(current) != 1 || !strings.Contains(current[0].Stack, "deafBody") {
		t.Errorf("overdue: %+v, want the stack of the stuck read", current)
	}
	rotations := r.value("log_capturer_stream_rotations_total")
	r.eventually("the others go on", func() bool {
		say()
		return r.value("log_capturer_stream_rotations_total") > rotations+20
	})
	r.complete()
	r.exact()
	close(d.freed)
	d.ended.Wait()
	say()
	r.complete()
	r.exact()
	r.healthy()
	r.eventually("nothing is overdue", func() bool { return len(watch.Current()) == 0 })
}

// A container whose streams all get stuck takes no more than a few leases with
// it, is shown as not being read, and is read again when one of them has ended.
func TestStuckStreamsOfAContainerAreBounded(t *testing.T) {
	r, d, watch, say := deafRig(t, 1000)
	r.start()
	r.eventually("the container is given up", func() bool {
		say()
		return r.value("log_capturer_stream_reopens_total", "reason", "overdue") == maxStuck
	})
	rotations := r.value("log_capturer_stream_rotations_total")
	r.eventually("the others go on", func() bool {
		say()
		return r.value("log_capturer_stream_rotations_total") > rotations+20
	})
	if n := watch.Counts()["stream"]; n != maxStuck {
		t.Errorf("%d streams are overdue, want %d", n, maxStuck)
	}
	report := r.monitor.Health()[0]
	if report.Status != health.Degraded || !strings.Contains(report.Reason, "do not end although they were closed") {
		t.Errorf("health %+v", report)
	}
	d.mu.Lock()
	d.left = 0
	d.mu.Unlock()
	close(d.freed)
	d.ended.Wait()
	r.complete()
	r.exact()
	r.eventually("healthy again", func() bool { return r.monitor.Health()[0].Status == health.Healthy })
}

// The monitor ends although a stream does not.
func TestMonitorEndsWithAStuckStream(t *testing.T) {
	r, d, watch, say := deafRig(t, 1)
	r.options.RotationInterval = time.Hour
	r.options.MaxStreams = 4
	r.start()
	say()
	r.complete()
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("run monitor: %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("the monitor does not end")
	}
	if n := watch.Counts()["stream"]; n != 1 {
		t.Errorf("%d streams are overdue, want 1", n)
	}
	close(d.freed)
	d.ended.Wait()
	r.eventually("the stream's goroutine has ended", func() bool { return len(watch.Current()) == 0 })
}

// An engine that takes the request for events and never answers it is one that
// is not there: it is tried again.
func TestEventsThatAreNeverAnswered(t *testing.T) {
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	hang := &silentEvents{Engine: r.spy}
	r.options.Engine = hang
	r.options.openPatience = 50 * time.Millisecond
	r.start()
	r.eventually("it is tried again", func() bool { return hang.calls() >= 2 })
	if reason := r.monitor.Health()[0].Reason; !strings.Contains(reason, "did not answer") {
		t.Errorf("health says %q", reason)
	}
	hang.stop()
	c.say(record.Stdout, time.Now(), "a line")
	r.complete()
	r.exact()
}

// silentEvents is an Engine whose events are never answered until it is told to
// stop that.
type silentEvents struct {
	Engine
	mu     sync.Mutex
	n      int
	answer bool
}

func (s *silentEvents) calls() int { s.mu.Lock(); defer s.mu.Unlock(); return s.n }
func (s *silentEvents) stop()      { s.mu.Lock(); defer s.mu.Unlock(); s.answer = true }

func (s *silentEvents) Events(ctx context.Context, ready func(), handle func(Event)) error {
	s.mu.Lock()
	s.n++
	answer := s.answer
	s.mu.Unlock()
	if answer {
		return s.Engine.Events(ctx, ready, handle)
	}
	<-ctx.Done()
	return ctx.Err()
}

// The engine's client answers a request for events that gets no answer with the
// end of its context, so that it can be cut off.
func TestDockerEventsCanBeCutOff(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	docker, err := NewDocker("tcp://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = docker.Events(ctx, func() {}, func(Event) {})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	close(release)
	docker.Close()
	server.Close()
	<-served
}

// A stream whose context is done hands nothing over: another one may read the
// container by then.
func TestNothingIsHandedOverAfterTheEnd(t *testing.T) {
	s := &intake{sink: noDispatcher{t}, batch: record.NewBatch(&record.Source{}, 10)}
	s.batch.Append(record.Record{}, []byte("a line"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.handOver(ctx, nil, record.Place{}); !errors.Is(err, context.Canceled) || s.batch != nil {
		t.Errorf("error %v, batch %v", err, s.batch)
	}
}

// noDispatcher is a Dispatcher that nothing may be handed to.
type noDispatcher struct{ t *testing.T }

func (d noDispatcher) Accept(_ context.Context, b *record.Batch) error {
	d.t.Error("a batch was handed over")
	b.Release()
	return nil
}

func (noDispatcher) Resume(string, record.Cursor) ([]record.Cursor, error) { return nil, nil }
func (noDispatcher) Ended(string)                                          {}
func (noDispatcher) Forget(string) error                                   { return nil }

// mute is an Engine that does not answer the request for a log.
type mute struct{ Engine }

func (mute) Logs(ctx context.Context, _ string, _ LogsOptions) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLogIsNotAnswered opens a log for which no answer comes.
func TestLogIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{engine: mute{}}
		began := time.Now()
		err := s.each(t.Context(), LogsOptions{Follow: true}, func() error { return nil })
		if took := time.Since(began); took != openTimeout {
			t.Errorf("it was waited for the answer for %v, want %v", took, openTimeout)
		}
		if end, err := s.failure(err); end != endStuck || err != nil {
			t.Errorf("the stream ended as %v, %v, want to be stuck", end, err)
		}
	})
}
