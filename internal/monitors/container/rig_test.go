package container

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/health"
	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// deadline bounds every wait for a condition.
const deadline = 20 * time.Second

// rig is a monitor that reads a scripted engine with the real client, and what
// it has to deliver.
type rig struct {
	t        testing.TB
	engine   *fakeengine.Engine
	docker   *Docker
	spy      *spy
	recorder *recorder
	options  Options
	monitor  *Monitor
	base     context.Context // what the monitor runs under, Background when nil
	cancel   context.CancelFunc
	ended    chan error

	containers []*speaker
}

// spy is an Engine that keeps what logs were asked for.
type spy struct {
	Engine
	// meanwhile, where it is set, is called before the engine is asked.
	meanwhile func()
	mu        sync.Mutex
	opens     []opened
}

type opened struct {
	id string
	LogsOptions
}

func (s *spy) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	s.mu.Lock()
	s.opens = append(s.opens, opened{id, opts})
	s.mu.Unlock()
	if s.meanwhile != nil {
		s.meanwhile()
	}
	return s.Engine.Logs(ctx, id, opts)
}

// asked returns the logs that were asked for since the last call.
func (s *spy) asked() []opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	opens := s.opens
	s.opens = nil
	return opens
}

// newRig returns a rig that is not started yet: options may be changed first.
func newRig(t testing.TB, o fakeengine.Options) *rig {
	t.Helper()
	r := &rig{t: t, engine: fakeengine.New(t, o), recorder: newRecorder(1)}
	docker, err := NewDocker(r.engine.Host())
	if err != nil {
		t.Fatal(err)
	}
	r.docker, r.spy = docker, &spy{Engine: docker}
	r.options = Options{
		Engine: r.spy, Dispatcher: r.recorder, Host: "testhost",
		Transport: TransportAPI, MaxStreams: 4, RotationInterval: time.Hour, HeartbeatInterval: time.Hour, ReconcileInterval: time.Hour,
		MaxLineBytes: 1 << 20, PositionRetention: time.Hour,
		Known: func() []string { return nil }, Logger: slog.New(slog.DiscardHandler),
	}
	t.Cleanup(func() {
		r.stop()
		if err := docker.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return r
}

// start starts a monitor, a new one each time.
func (r *rig) start() {
	r.options.Dispatcher = r.recorder
	r.monitor = New(r.options)
	if r.base == nil {
		r.base = context.Background()
	}
	ctx, cancel := context.WithCancel(r.base)
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func(m *Monitor, ended chan error) { ended <- m.Run(ctx) }(r.monitor, r.ended)
}

// stop ends the monitor and sees that it left no stream open.
func (r *rig) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("run monitor: %v", err)
		}
	case <-time.After(deadline):
		r.t.Fatal("the monitor does not end")
	}
	r.eventually("all streams are closed", func() bool {
		return r.engine.Streams().Open == 0 && r.engine.EventStreams() == 0
	})
}

// eventually waits for a condition.
func (r *rig) eventually(what string, condition func() bool) {
	r.t.Helper()
	if !poll(condition) {
		r.t.Fatalf("not in time: %s; containers %+v, health %+v", what, r.monitor.Containers(), r.monitor.Health())
	}
}

// poll asks a condition again and again until it holds or the deadline passes.
func poll(condition func() bool) bool {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	end := time.Now().Add(deadline)
	for time.Now().Before(end) {
		if condition() {
			return true
		}
		<-ticker.C
	}
	return condition()
}

// speaker is a scripted container and what it has said.
type speaker struct {
	*fakeengine.Container
	said [record.NumStreams][]line
	// order holds the same lines in the order of the log.
	order []spoken
}

type spoken struct {
	stream record.Stream
	time   int64
	text   string
}

// add adds a container. Its log is to be filled by say.
func (r *rig) add(c fakeengine.Config) *speaker {
	s := &speaker{Container: r.engine.Add(c)}
	r.containers = append(r.containers, s)
	return s
}

// say makes the container write whole lines, all at one time.
func (s *speaker) say(stream record.Stream, at time.Time, texts ...string) {
	entries := make([]fakeengine.Entry, 0, len(texts))
	for _, text := range texts {
		entries = append(entries, fakeengine.Pieces(stream, at, text)...)
		s.expect(stream, at, text, 0)
	}
	s.Append(entries...)
}

// expect adds a line to what has to be delivered, without writing it.
func (s *speaker) expect(stream record.Stream, at time.Time, text string, flags record.Flags) {
	s.said[stream] = append(s.said[stream], line{text, at.UnixNano(), flags})
	s.order = append(s.order, spoken{stream, at.UnixNano(), text})
}

// complete waits until every sink has all lines of all containers.
func (r *rig) complete() {
	r.t.Helper()
	count := func() bool {
		for sink := range r.recorder.sinks {
			for _, c := range r.containers {
				for s, want := range c.said {
					if len(r.recorder.got(sink, c.ID(), record.Stream(s))) < len(want) {
						return false
					}
				}
			}
		}
		return true
	}
	ok := poll(count)
	r.exact()
	if !ok && !r.t.Failed() {
		r.t.Error("not complete in time")
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// exact sees that every sink has each line once, in order, with its time and
// flags.
func (r *rig) exact() {
	r.t.Helper()
	for sink := range r.recorder.sinks {
		for _, c := range r.containers {
			for s, want := range c.said {
				got := r.recorder.got(sink, c.ID(), record.Stream(s))
				if slices.Equal(got, want) {
					continue
				}
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				r.t.Errorf("sink %d, %s %v: %d lines, want %d; from line %d on:\n got %v\nwant %v",
					sink, c.Name(), record.Stream(s), len(got), len(want), at,
					got[at:min(len(got), at+5)], want[at:min(len(want), at+5)])
			}
		}
	}
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	for _, fault := range r.recorder.faults {
		r.t.Error(fault)
	}
}

// reopened waits until every container's stream was opened n more times, so
// that what a resume gets wrong shows.
func (r *rig) reopened(n int) {
	r.t.Helper()
	for _, c := range r.containers {
		before := c.Streams().Opened
		r.eventually("streams are reopened", func() bool { return c.Streams().Opened >= before+n })
	}
}

// value returns the monitor's metric with exactly these labels (name, value,
// ...); of a histogram, the sum.
func (r *rig) value(name string, labels ...string) float64 {
	r.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.monitor)
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			has := []string{}
			for _, l := range m.GetLabel() {
				has = append(has, l.GetName(), l.GetValue())
			}
			if !slices.Equal(has, labels) {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			}
			return m.GetHistogram().GetSampleSum()
		}
	}
	r.t.Fatalf("there is no metric %s %v", name, labels)
	return 0
}

// health waits until the monitor reports a status, for a reason that holds the
// given words.
func (r *rig) health(want health.Status, words ...string) {
	r.t.Helper()
	r.eventually("health "+want.String()+" "+strings.Join(words, " "), func() bool {
		c := r.monitor.Health()[0]
		return c.Status == want && (want == health.Healthy) == (c.Reason == "") &&
			!slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(c.Reason, w) })
	})
}

// state waits until a container is in a state.
func (r *rig) state(c *speaker, want string) {
	r.t.Helper()
	r.eventually(c.Name()+" is "+want, func() bool { return r.stateOf(c) == want })
}

// stateOf returns a container's state, empty for one that is not in the table.
func (r *rig) stateOf(c *speaker) string {
	for _, other := range r.monitor.Containers() {
		if other.ID == c.ID() {
			return other.State
		}
	}
	return ""
}

// gaps returns the suspected gaps.
func (r *rig) gaps() float64 { return r.value("log_capturer_suspected_gaps_total") }

// healthy sees that nothing unusual was reported.
func (r *rig) healthy() {
	r.t.Helper()
	r.health(health.Healthy)
	if gaps := r.gaps(); gaps != 0 {
		r.t.Errorf("%v suspected gaps, want none", gaps)
	}
	for _, c := range r.monitor.Containers() {
		if c.Gaps != 0 {
			r.t.Errorf("container %s has %d suspected gaps, want none", c.Name, c.Gaps)
		}
	}
}
