package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// scenario is one test of the agent: what runs, what goes wrong, and what must
// hold. It is read from a YAML file; a key that is not here is an error.
type scenario struct {
	// Name is the file's name without its ending, About a sentence for reports.
	Name  string `yaml:"-"`
	About string `yaml:"about"`
	// Duration is the time between the first sample and the last. What is
	// sampled in WarmUp counts for no growth.
	Duration duration `yaml:"duration"`
	WarmUp   duration `yaml:"warm_up"`
	// Sample is the time between samples, Settle how long the last lines may
	// take to arrive.
	Sample duration `yaml:"sample"`
	Settle duration `yaml:"settle"`
	// PrivateEngine runs an engine of the lab's own, which may be killed.
	PrivateEngine bool `yaml:"private_engine"`
	// LeakProfile builds the agent with GOEXPERIMENT=goroutineleakprofile, and
	// asks it at the end which goroutines can never run again.
	LeakProfile bool `yaml:"leak_profile"`
	// Containers are those that live as long as the run.
	Containers []containerGroup `yaml:"containers"`
	// Churn are containers that come and go, Restarts those of the groups above
	// that are stopped and started.
	Churn    churn    `yaml:"churn"`
	Restarts restarts `yaml:"restarts"`
	// Agent is the agent's configuration, Sink that of its sink. The lab adds
	// what is its own: directories, addresses, and which containers to capture.
	Agent map[string]any `yaml:"agent"`
	Sink  map[string]any `yaml:"sink"`
	// Faults are what goes wrong, and when.
	Faults []fault `yaml:"faults"`
	// Criteria are what must hold.
	Criteria criteria `yaml:"criteria"`
}

// containerGroup are containers of one kind.
type containerGroup struct {
	Count int `yaml:"count"`
	// Rate is in lines a second on each stream; zero is silence.
	Rate float64 `yaml:"rate"`
	// Size, Streams and Payload are as for the writer.
	Size    string `yaml:"size"`
	Streams string `yaml:"streams"`
	Payload string `yaml:"payload"`
	TTY     bool   `yaml:"tty"`
	// MaxSize and MaxFile make the engine rotate the log's files.
	MaxSize string `yaml:"max_size"`
	MaxFile int    `yaml:"max_file"`
}

// churn are containers that are started one after the other, write their lines
// and end.
type churn struct {
	// PerSecond is the number of starts a second, zero for none.
	PerSecond float64 `yaml:"per_second"`
	// Removed is the share of them, from 0 to 1, that the engine removes when
	// they end, as docker run --rm has it.
	Removed float64 `yaml:"removed"`
	// Lines are written at Rate a second; the container ends Linger later.
	Lines  uint64   `yaml:"lines"`
	Rate   float64  `yaml:"rate"`
	Linger duration `yaml:"linger"`
}

// restarts says how often one of the lasting containers is restarted.
type restarts struct {
	Every duration `yaml:"every"`
}

// fault is something that goes wrong at a time, and for a time.
type fault struct {
	At   duration `yaml:"at"`
	For  duration `yaml:"for"`
	Kind string   `yaml:"kind"`
}

// The kinds of faults. What is down comes back at the fault's end; an agent that
// is killed is started again at once.
const (
	destinationDown     = "destination_down"
	destinationSlow     = "destination_slow"
	destinationFlapping = "destination_flapping"
	engineKilled        = "engine_killed"
	engineStopped       = "engine_stopped"
	agentKilled         = "agent_killed"
	agentRestarted      = "agent_restarted"
)

var faultKinds = []string{
	destinationDown, destinationSlow, destinationFlapping, engineKilled, engineStopped, agentKilled, agentRestarted,
}

// criteria are what must hold. What is not set is not judged; the lines are
// always counted.
type criteria struct {
	// GoroutinesPerMinute, FDGrowth and HeapPerMinute (MiB) bound growth after
	// the warm-up, in total and of each component and kind.
	GoroutinesPerMinute *float64 `yaml:"goroutines_per_minute"`
	FDGrowth            *float64 `yaml:"fd_growth"`
	HeapPerMinute       *float64 `yaml:"heap_mib_per_minute"`
	// MaxMemory (MiB), MaxGoroutines (without those of the agent's servers) and
	// MaxCPU (percent of a core, on average after the warm-up) bound what the agent
	// uses.
	MaxMemory     *float64 `yaml:"max_memory_mib"`
	MaxGoroutines *float64 `yaml:"max_goroutines"`
	MaxCPU        *float64 `yaml:"max_cpu_percent"`
	// PoolFull wants every lease in use, Healthy every sample healthy, and
	// Steady that the agent itself never says that something grows.
	PoolFull bool `yaml:"pool_full"`
	Healthy  bool `yaml:"healthy"`
	Steady   bool `yaml:"steady"`
	// Rotations and RotationsPerSecond are the fewest.
	Rotations          *float64 `yaml:"rotations"`
	RotationsPerSecond *float64 `yaml:"rotations_per_second"`
	// WaitBounded wants no container to wait longer for a stream than the
	// agent's own bound.
	WaitBounded bool `yaml:"wait_bounded"`
	// MaxLag is how far the reading may be behind.
	MaxLag duration `yaml:"max_lag"`
	// SuspectedGaps and Overdue are the most of these; zero unless set.
	SuspectedGaps float64 `yaml:"suspected_gaps"`
	Overdue       float64 `yaml:"overdue_goroutines"`
	// Repeats lets lines arrive again, as after a kill of the agent.
	Repeats bool `yaml:"repeats"`
	// Starts is the fewest containers a second that churn must have started.
	Starts *float64 `yaml:"starts_per_second"`

	// busy relaxes what depends on how fast the machine is.
	busy bool
}

// busySlack is by how much times may be longer on a busy machine.
const busySlack = 20 * time.Second

// slack returns by how much times may be longer.
func (c *criteria) slack() time.Duration {
	if c.busy {
		return busySlack
	}
	return 0
}

//go:embed scenarios/*.yaml
var scenarioFiles embed.FS

// scenarioNames returns the names of the scenarios that come with the lab.
func scenarioNames() []string {
	entries, err := scenarioFiles.ReadDir("scenarios")
	if err != nil {
		panic(err) // they are embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// loadScenario returns the scenario of a name, or of a file that has a slash or
// ends in .yaml.
func loadScenario(name string) (*scenario, error) {
	if strings.HasSuffix(name, ".yaml") {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read scenario: %w", err)
		}
		return parseScenario(strings.TrimSuffix(path.Base(name), ".yaml"), text)
	}
	text, err := scenarioFiles.ReadFile("scenarios/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(scenarioNames(), ", "))
	}
	return parseScenario(name, text)
}

func parseScenario(name string, text []byte) (*scenario, error) {
	s := &scenario{Name: name, Settle: duration(time.Minute)}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(s); err != nil {
		return nil, fmt.Errorf("scenario %s: %s", name, yaml.FormatError(err, false, true))
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return s, nil
}

// check completes the scenario and returns what is wrong with it.
func (s *scenario) check() error {
	if s.Duration <= 0 {
		return errors.New("duration is missing")
	}
	if s.WarmUp < 0 || s.WarmUp >= s.Duration {
		return errors.New("warm_up is not shorter than duration")
	}
	if s.Sample <= 0 {
		s.Sample = min(max(s.Duration/120, duration(500*time.Millisecond)), duration(30*time.Second))
	}
	for i := range s.Containers {
		g := &s.Containers[i]
		if g.Count <= 0 {
			return fmt.Errorf("containers[%d]: count is missing", i)
		}
		if g.Size == "" {
			g.Size = "120"
		}
		if g.Streams == "" {
			g.Streams = "out"
		}
		if g.Payload == "" {
			g.Payload = "ascii"
		}
	}
	if s.Churn.PerSecond > 0 && (s.Churn.Lines == 0 || s.Churn.Rate <= 0) {
		return errors.New("churn: lines and rate are missing")
	}
	for i, f := range s.Faults {
		if !slices.Contains(faultKinds, f.Kind) {
			return fmt.Errorf("faults[%d]: no kind %q; there are %s", i, f.Kind, strings.Join(faultKinds, ", "))
		}
		if f.At+f.For > s.Duration {
			return fmt.Errorf("faults[%d]: it is not over before the end", i)
		}
		if strings.HasPrefix(f.Kind, "engine_") && !s.PrivateEngine {
			return fmt.Errorf("faults[%d]: %s needs private_engine", i, f.Kind)
		}
	}
	return nil
}

// resize changes the scenario's duration and its number of containers: its
// times and what it wants to be counted follow.
func (s *scenario) resize(length time.Duration, scale float64) error {
	times, counts := 1.0, 1.0
	if length > 0 {
		times = float64(length) / float64(s.Duration)
	}
	if scale > 0 {
		counts = scale
	}
	stretch := func(d *duration) { *d = duration(float64(*d) * times) }
	stretch(&s.Duration)
	stretch(&s.WarmUp)
	if times < 1 {
		s.Sample = max(duration(float64(s.Sample)*times), min(s.Sample, duration(500*time.Millisecond)))
	}
	for i := range s.Faults {
		stretch(&s.Faults[i].At)
		stretch(&s.Faults[i].For)
	}
	many := func(n int) int { return max(1, int(math.Round(float64(n)*counts))) }
	for i := range s.Containers {
		s.Containers[i].Count = many(s.Containers[i].Count)
	}
	s.Churn.PerSecond *= counts
	if monitor, ok := s.Agent["container_monitor"].(map[string]any); ok && counts != 1 {
		if n, ok := monitor["max_streams"].(uint64); ok {
			monitor["max_streams"] = many(int(n))
		}
	}
	for want, factor := range map[*float64]float64{
		s.Criteria.Rotations: times * counts, s.Criteria.RotationsPerSecond: counts, s.Criteria.Starts: counts,
	} {
		if want != nil {
			*want = math.Floor(*want * factor)
		}
	}
	return s.check()
}

// lasting returns the number of containers that live as long as the run.
func (s *scenario) lasting() int {
	n := 0
	for _, g := range s.Containers {
		n += g.Count
	}
	return n
}

// duration is a time.Duration in Go's notation.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

func (d duration) String() string { return time.Duration(d).String() }
