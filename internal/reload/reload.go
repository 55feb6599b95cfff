// Package reload has the configuration read anew while the agent runs.
//
// It owns who asks for that (a signal, the API, a file that was changed), that one
// reload is under way at a time, and what is told of the last one. What is asked
// for while one is under way is done once, afterwards. How a configuration becomes
// what runs is given to Run from outside: it changes everything, or nothing.
package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
)

// The causes of a reload.
const (
	BySignal = "signal"
	ByAPI    = "api"
	ByFile   = "file"
)

// What a reload comes to.
const (
	// Applied: what was changed in the configuration was changed in the agent.
	Applied = "applied"
	// Unchanged: the configuration is the one that runs.
	Unchanged = "unchanged"
	// Invalid: the configuration is wrong, or can't be read. Nothing was changed.
	Invalid = "invalid"
	// Refused: it can't be applied to an agent that runs. Nothing was changed.
	Refused = "refused"
)

var outcomes = []string{Applied, Unchanged, Invalid, Refused}

// Result is what a reload came to.
type Result struct {
	At     time.Time
	Cause  string
	Result string
	// Changed are the parts of the configuration that were changed.
	Changed []string
	// Errors say why nothing was changed, as 'validate' does.
	Errors []string
	Took   time.Duration
}

// Ok reports whether the configuration that was read is the one that runs now.
func (r Result) Ok() bool { return r.Result == Applied || r.Result == Unchanged }

// Options say how the configuration is read. Logger is required.
type Options struct {
	// Path is the file of the configuration, "" for an agent without one.
	Path string
	// Load reads it.
	Load func() (*config.Config, error)
	// Watch has changes of the file looked for.
	Watch bool
	// Applied is called with a configuration that runs now. Optional.
	Applied func(*config.Config)
	Logger  *slog.Logger
}

// Reloads takes in what asks for reloads. Its methods may be called from several
// goroutines at once, Run once.
type Reloads struct {
	opts Options
	wake chan struct{}
	over chan struct{} // closed when Run has returned

	mu      sync.Mutex
	pending *asked // what is done next
	last    *Result
	counts  map[string]uint64
	success time.Time
}

// asked is a reload that was asked for.
type asked struct {
	cause  string
	done   chan struct{}
	result Result
}

// New returns Reloads. It starts nothing.
func New(opts Options) *Reloads {
	return &Reloads{opts: opts, wake: make(chan struct{}, 1), over: make(chan struct{}), counts: map[string]uint64{}}
}

// Ask has the configuration reloaded, and does not wait for it.
func (r *Reloads) Ask(cause string) { r.ask(cause) }

func (r *Reloads) ask(cause string) *asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = &asked{cause: cause, done: make(chan struct{})}
		r.wake <- struct{}{} // there is room: none was pending
	}
	return r.pending
}

// errOver is the error of a Do that comes too late.
var errOver = errors.New("the agent is stopping")

// Do has the configuration reloaded, and waits for what comes of it.
func (r *Reloads) Do(ctx context.Context, cause string) (Result, error) {
	a := r.ask(cause)
	select {
	case <-a.done:
		return a.result, nil
	case <-r.over:
		return Result{}, errOver
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Run carries out what is asked for, until ctx is done. Apply makes a configuration
// the one that runs, and returns the parts that it has changed for it. An error
// says that nothing was.
func (r *Reloads) Run(ctx context.Context, apply func(context.Context, *config.Config) ([]string, error)) error {
	defer close(r.over)
	group := lifetime.NewGroup(ctx)
	if r.opts.Watch && r.opts.Path != "" {
		group.Go("reload", r.watch)
	}
	group.Go("reload", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			}
			r.mu.Lock()
			a := r.pending
			r.pending = nil
			r.mu.Unlock()
			a.result = r.reload(ctx, a.cause, apply)
			close(a.done)
		}
	})
	return group.Wait()
}

// reload reads the configuration and applies it.
func (r *Reloads) reload(ctx context.Context, cause string, apply func(context.Context, *config.Config) ([]string, error)) Result {
	result := Result{At: time.Now(), Cause: cause, Result: Invalid}
	cfg, err := r.load()
	if err == nil {
		if result.Changed, err = apply(ctx, cfg); err != nil {
			result.Result, result.Changed = Refused, nil
		}
	}
	switch list, many := errors.AsType[config.Errors](err); {
	case many:
		for _, e := range list {
			result.Errors = append(result.Errors, e.Error())
		}
	case err != nil:
		result.Errors = []string{err.Error()}
	case len(result.Changed) == 0:
		result.Result = Unchanged
	default:
		result.Result = Applied
	}
	if result.Ok() && r.opts.Applied != nil {
		r.opts.Applied(cfg)
	}
	result.Took = time.Since(result.At)
	r.note(result)
	return result
}

func (r *Reloads) load() (*config.Config, error) {
	if r.opts.Path == "" {
		return nil, errors.New("the agent runs without a configuration file: start it with --config")
	}
	return r.opts.Load()
}

// note keeps and logs what a reload came to.
func (r *Reloads) note(result Result) {
	r.mu.Lock()
	r.last = &result
	r.counts[result.Result]++
	if result.Ok() {
		r.success = result.At
	}
	r.mu.Unlock()
	if !result.Ok() {
		r.opts.Logger.Error("config_not_reloaded", "cause", result.Cause, "result", result.Result, "errors", result.Errors)
		return
	}
	r.opts.Logger.Info("config_reloaded", "cause", result.Cause, "result", result.Result, "changed", result.Changed, "took", result.Took)
}

// Last returns what the last reload came to, nil when there was none.
func (r *Reloads) Last() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Health is degraded while the configuration that was read last is not the one that
// runs.
func (r *Reloads) Health() []health.Component {
	c := health.Component{Name: "config"}
	if last := r.Last(); last != nil && !last.Ok() {
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("the configuration was not reloaded at %s (%d errors): %s",
			last.At.UTC().Format(time.RFC3339), len(last.Errors), last.Errors[0])
	}
	return []health.Component{c}
}

var (
	reloadsDesc = prometheus.NewDesc("log_capturer_config_reloads_total",
		"Reloads of the configuration, by result: applied, unchanged, invalid or refused.", []string{"result"}, nil)
	successDesc = prometheus.NewDesc("log_capturer_config_last_reload_success_time_seconds",
		"When the configuration was last reloaded with success, in Unix time; 0 for never.", nil, nil)
)

// Describe implements prometheus.Collector.
func (r *Reloads) Describe(ch chan<- *prometheus.Desc) {
	ch <- reloadsDesc
	ch <- successDesc
}

// Collect implements prometheus.Collector.
func (r *Reloads) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, outcome := range outcomes {
		ch <- prometheus.MustNewConstMetric(reloadsDesc, prometheus.CounterValue, float64(r.counts[outcome]), outcome)
	}
	at := 0.0
	if !r.success.IsZero() {
		at = float64(r.success.UnixNano()) / 1e9
	}
	ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, at)
}
