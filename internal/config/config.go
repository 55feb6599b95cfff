// Package config owns the configuration of the agent: its types, every default,
// the decoding of YAML files, and the rules that a configuration must keep.
//
// It promises that a configuration which it returns without an error is one
// that the agent can run with, as far as the file alone can tell: every key is
// known, every value has its type and is in its range, and no two sections
// contradict each other. Everything that is wrong with a file is reported at
// once, each with file, line, column and the nearest valid key (Errors).
//
// Values of the environment are put into scalars after the file was parsed, so
// that a variable can change a value and never the structure. Secrets never
// appear in output: see Secret.
//
// The package leaves to others what only the machine can tell: whether a port
// is free, a directory is writable, an engine answers, what the machine's name
// is.
package config

// Config is the whole configuration. Default returns one; Load and Parse return
// one with the values of a file on top of the defaults. It is not modified
// after that, and may be read from any goroutine.
type Config struct {
	// The directory for everything that the agent keeps: positions, refused
	// records and, by default, the log files. It is made when it does not exist.
	DataDir string `yaml:"data_dir"`
	// The name of this machine in every record. Empty means its hostname.
	Host string `yaml:"host"`
	// The most memory that the agent takes, whatever its destinations do. The
	// windows of the sinks are made smaller for it where they have to be. 0 sets
	// no limit beyond theirs.
	MemoryLimit ByteSize `yaml:"memory_limit" min:"0"`
	// The agent's own log, written to standard error.
	Log Log `yaml:"log"`
	// How containers are found and read.
	ContainerMonitor ContainerMonitor `yaml:"container_monitor"`
	// How plain files are found and read.
	FileMonitor FileMonitor `yaml:"file_monitor"`
	// How records are read from Kafka.
	KafkaSource KafkaSource `yaml:"kafka_source"`
	// What lies between the monitors and the sinks.
	Dispatcher Dispatcher `yaml:"dispatcher"`
	// What becomes of records on their way to the sinks: they are parsed,
	// filtered, joined, redacted and routed. Without this key, nothing.
	Pipelines []Pipeline `yaml:"pipelines"`
	// The destinations. Every record goes to each of them. Without this key
	// there is one, of type `local_file`.
	Sinks []Sink `yaml:"sinks"`
	// Records that a destination refused for good.
	DeadLetters DeadLetters `yaml:"dead_letters"`
	// The API and the status page.
	Server Listener `yaml:"server"`
	// The Prometheus metrics, at `/metrics`.
	Metrics Listener `yaml:"metrics"`
	// Go's profiles, at `/debug/pprof/`.
	Pprof Listener `yaml:"pprof"`
	// How the agent watches itself for leaks.
	Selfwatch Selfwatch `yaml:"selfwatch"`

	// files are the files that were read with it, by their paths.
	files map[string]digest
}

// Selfwatch is the section of the agent's watch over itself.
type Selfwatch struct {
	// How often goroutines, file descriptors and memory are counted.
	Interval Duration `yaml:"interval" min:"100ms"`
	// How far back the counts are compared to tell whether something grows.
	Window Duration `yaml:"window" min:"2s"`
	// What is left out after the start, when much is made that stays.
	WarmUp Duration `yaml:"warm_up" min:"0s"`
}

// Log is the section of the agent's own log.
type Log struct {
	// The least important messages that are written.
	Level string `yaml:"level" oneof:"debug info warn error"`
	// How a message is written.
	Format string `yaml:"format" oneof:"text json"`
}

// ContainerMonitor is the section of the container monitor.
type ContainerMonitor struct {
	// Whether containers are captured at all.
	Enabled bool `yaml:"enabled"`
	// The address of the Docker Engine: `unix:///path`, `tcp://host:port`,
	// `http://...` or `https://...`. Empty means `$DOCKER_HOST`, or without it
	// `unix:///var/run/docker.sock`.
	DockerHost string `yaml:"docker_host"`
	// How logs are read. `file` is the engine's json-file itself, and costs the
	// engine nothing; `api` is the engine's API. `auto` reads the file where
	// there is one that can be read, and changes over when that changes.
	Transport string `yaml:"transport" oneof:"auto file api"`
	// The directory in which the agent sees the engine's data directory, when
	// that is not where the engine has it: in a container, where it is mounted.
	DataRoot string `yaml:"data_root"`
	// Where reading starts in a container that was there before the agent saw
	// it for the first time: at the oldest line that the engine has, or at the
	// next line to come.
	StartAt string `yaml:"start_at" oneof:"beginning end"`
	// The containers to capture: those that match any pattern of any list.
	// Without patterns, all.
	Include Filter `yaml:"include"`
	// The containers to leave out, even when they are included as well.
	Exclude Filter `yaml:"exclude"`
	// The most log streams of the engine that are open at once. With more
	// containers than streams, these take turns.
	MaxStreams int `yaml:"max_streams" min:"1" max:"10000"`
	// How long a log stream stays open before it is closed and reopened where
	// it was.
	RotationInterval Duration `yaml:"rotation_interval" min:"10ms"`
	// How often silent streams are checked for lines that they should have
	// delivered.
	HeartbeatInterval Duration `yaml:"heartbeat_interval" min:"10ms"`
	// How often the list of containers is fetched anew, in case the engine
	// dropped an event.
	ReconcileInterval Duration `yaml:"reconcile_interval" min:"10ms"`
	// The longest line that is kept in one record. A longer one is cut into
	// several records that are marked; no byte is dropped.
	MaxLineBytes ByteSize `yaml:"max_line_bytes" min:"1KiB" max:"1GiB"`
	// How long the position of a removed container is kept.
	PositionRetention Duration `yaml:"position_retention" min:"0s"`
}

// Filter selects containers. Every list is empty by default. In a pattern, *
// stands for any text, ? for any one character and [a-z] for one of these.
type Filter struct {
	// Patterns of container names, without a leading slash.
	Names []string `yaml:"names"`
	// Patterns of image references, as `docker ps` shows them.
	Images []string `yaml:"images"`
	// Labels: `key` for a label with any value, `key=pattern` for certain values.
	Labels []string `yaml:"labels"`
}

// Dispatcher is the section of what lies between the monitors and the sinks.
type Dispatcher struct {
	// The memory for records that are not delivered yet, for each sink. When
	// it is full, reading waits.
	WindowBytes ByteSize `yaml:"window_bytes" min:"64KiB" max:"1TiB"`
	// How long the sinks may go on delivering after the agent was told to stop.
	ShutdownTimeout Duration `yaml:"shutdown_timeout" min:"0s"`
	// How much each container, and each file, may bring in a second.
	SourceRateLimit RateLimit `yaml:"source_rate_limit"`
}

// DeadLetters is the section of what destinations refused for good.
type DeadLetters struct {
	// The most bytes that they take up on disk, in `{data_dir}/dead-letters`. The
	// oldest are deleted for it, and counted. 0 turns this off.
	MaxBytes ByteSize `yaml:"max_bytes" min:"0"`
	// The age at which they are deleted, and counted. 0 turns this off.
	MaxAge Duration `yaml:"max_age" min:"0s"`
}

// What the agent takes besides what it holds for sinks, in bytes: its code and
// tables, and the logs that it is reading.
const baseMemory = 16 * mib

// WindowBytes returns the memory for each sink's undelivered records:
// dispatcher.window_bytes, or less where memory_limit asks for it. Half of that
// limit is left to the garbage collector, which lets the heap grow to twice what
// is in use. Of the other half the base and the requests under way are taken off,
// twice the size of each, and the sinks share the rest.
func (c *Config) WindowBytes() ByteSize {
	if c.MemoryLimit == 0 || len(c.Sinks) == 0 {
		return c.Dispatcher.WindowBytes
	}
	left := int64(c.MemoryLimit)/2 - int64(baseMemory)
	for _, s := range c.Sinks {
		left -= 2 * int64(s.Delivery.Concurrency) * int64(s.Delivery.BatchBytes)
	}
	return min(c.Dispatcher.WindowBytes, ByteSize(max(0, left/int64(len(c.Sinks)))))
}

// Listener is a section that opens a port.
type Listener struct {
	// Whether the port is opened.
	Enabled bool `yaml:"enabled"`
	// The address, as `host:port`. An empty host means every interface; port 0
	// means a free one.
	Listen string `yaml:"listen"`
}
