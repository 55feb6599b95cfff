package pipeline

import (
	"time"

	"log_capturer/internal/secret"
)

// Common holds the options that stages of every type have.
type Common struct {
	// The stage's name in metrics and messages. Empty means its type.
	Name string `yaml:"name"`
	// An expression: the stage works on records for which it is true, and
	// passes the others on. Empty means all.
	If string `yaml:"if"`
	// What becomes of a record that the stage fails on: `keep` passes it on as
	// it was, with the attribute `pipeline_error`; `drop` drops it, counted;
	// `route:SINK` sends it to that sink alone, past the stages that follow.
	OnError string `yaml:"on_error"`
}

// stageType is a type of stages.
type stageType struct {
	name string
	// make returns the options with their defaults.
	make func() Options
}

var stageTypes = []stageType{
	{"json", func() Options { return &JSON{MaxDepth: 16} }},
	{"logfmt", func() Options { return &Logfmt{} }},
	{"regex", func() Options { return &Regex{} }},
	{"syslog", func() Options { return &Syslog{Format: "auto", Zone: "UTC"} }},
	{"access_log", func() Options { return &AccessLog{Format: "auto"} }},
	{"key_value", func() Options { return &KeyValue{Pairs: " ", Between: "="} }},
	{"csv", func() Options { return &CSV{Separator: ","} }},
	{"time", func() Options { return &Time{Layouts: []string{"rfc3339"}, Zone: "UTC", Beyond: "keep"} }},
	{"level", func() Options {
		return &LevelOptions{Fields: []string{"level", "lvl", "severity", "log.level", "loglevel"}, Text: true}
	}},
	{"multiline", func() Options {
		return &Multiline{MaxLines: 500, MaxBytes: 256 << 10, MaxWait: 5 * time.Second}
	}},
	{"filter", func() Options { return &Filter{} }},
	{"sample", func() Options { return &Sample{} }},
	{"redact", func() Options { return &Redact{Action: "replace", With: "[redacted]"} }},
	{"set", func() Options { return &Set{} }},
	{"remove", func() Options { return &Remove{} }},
	{"rename", func() Options { return &Rename{} }},
	{"template", func() Options { return &Template{To: "line"} }},
	{"collapse", func() Options { return &Collapse{Window: 10 * time.Second} }},
	{"limit", func() Options { return &Limit{Burst: 1, MaxKeys: 1000} }},
	{"metrics", func() Options { return &MetricsOptions{MaxSeries: 1000} }},
	{"route", func() Options { return &Route{} }},
}

// Types returns the names of all types of stages, in the order in which
// documents list them.
func Types() []string {
	names := make([]string, len(stageTypes))
	for i, t := range stageTypes {
		names[i] = t.name
	}
	return names
}

// NewOptions returns the options of a type, with their defaults; nil for a type
// that is none of Types.
func NewOptions(typ string) Options {
	for _, t := range stageTypes {
		if t.name == typ {
			return t.make()
		}
	}
	return nil
}

// JSON parses an object. Objects within it become attributes with dots in their
// names ("http.status"); lists stay JSON. Numbers keep all their digits.
type JSON struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// What is put before the names of the attributes.
	Prefix string `yaml:"prefix"`
	// How deep objects and lists may be within each other.
	MaxDepth int `yaml:"max_depth" min:"1" max:"100"`
}

// Logfmt parses `key=value` pairs as logfmt writes them, values in quotes
// included. A key without a value becomes `true`.
type Logfmt struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// What is put before the names of the attributes.
	Prefix string `yaml:"prefix"`
}

// Regex parses by a regular expression.
type Regex struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// The expression, in RE2's syntax, whose time grows with the text and never
	// more. Its named groups, `(?P<name>...)`, become attributes.
	Pattern string `yaml:"pattern"`
}

// Syslog parses a message of syslog: the attributes `facility`, `severity`,
// `hostname`, `app`, `procid`, `msgid`, and `sd.ID.NAME` for structured data.
// The message becomes the line; time and level of the record are set.
type Syslog struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// Which RFC the message follows; `auto` finds out.
	Format string `yaml:"format" oneof:"auto rfc3164 rfc5424"`
	// The time zone of RFC 3164's times, as in `Europe/Berlin`.
	Zone string `yaml:"zone"`
}

// AccessLog parses the access logs of web servers: the attributes `client`,
// `user`, `timestamp`, `method`, `path`, `protocol`, `status` and `bytes`, and
// with the combined format `referer` and `user_agent`.
type AccessLog struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// Which format; `auto` takes either.
	Format string `yaml:"format" oneof:"auto common combined"`
}

// KeyValue parses pairs with any separators.
type KeyValue struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// What is put before the names of the attributes.
	Prefix string `yaml:"prefix"`
	// What stands between two pairs.
	Pairs string `yaml:"pairs"`
	// What stands between a key and its value.
	Between string `yaml:"between"`
}

// CSV parses a line of values, quoted as RFC 4180 says.
type CSV struct {
	// The attribute to parse. Empty means the line.
	From string `yaml:"from"`
	// The names of the columns. An empty one is left out.
	Columns []string `yaml:"columns"`
	// What stands between two values: one character.
	Separator string `yaml:"separator"`
}

// Time takes the time of the record from an attribute.
type Time struct {
	// The attribute.
	From string `yaml:"from"`
	// The layouts to try, in this order: `rfc3339`, `rfc1123`, `rfc850`,
	// `ansic`, `unix`, `unix_ms`, `unix_us`, `unix_ns`, `access_log`, `iso8601`,
	// `syslog`, or any other as Go writes it (`2006-01-02 15:04:05.000`).
	Layouts []string `yaml:"layouts"`
	// The time zone of times that name none, as in `Europe/Berlin`.
	Zone string `yaml:"zone"`
	// How far before the time of capture the time may be. 0 means any.
	MaxPast time.Duration `yaml:"max_past" min:"0s"`
	// How far after the time of capture the time may be. 0 means any.
	MaxFuture time.Duration `yaml:"max_future" min:"0s"`
	// What to do with a time beyond these limits: `keep` it, `clamp` it to the
	// limit, or take the time of `capture`. The time as it was is kept in the
	// attribute `original_time` with the latter two.
	Beyond string `yaml:"beyond" oneof:"keep clamp capture"`
}

// LevelOptions finds the level of the record and puts it on one scale: trace,
// debug, info, warn, error, fatal. Numbers are those of syslog (0 to 7) or of
// Node.js's loggers (10 to 60).
type LevelOptions struct {
	// The attributes to look at; the first that holds a level counts.
	Fields []string `yaml:"fields"`
	// Whether the beginning of the line is searched for a word such as `ERROR`
	// or `[warn]` when no attribute holds a level.
	Text bool `yaml:"text"`
	// The level of a record that says none. Empty leaves it unknown.
	Default string `yaml:"default"`
}

// Multiline joins lines of one stream into one record. A line that begins a
// record, or a limit, sends on what was held; so does the container's end.
type Multiline struct {
	// What to join by: the stack traces of `java`, `python`, `go`, `dotnet`,
	// `nodejs`, `ruby`, `php`, or `any` of them.
	Preset string `yaml:"preset"`
	// A regular expression: a line that matches begins a record.
	Start string `yaml:"start"`
	// A regular expression: a line that matches continues the one before it.
	Continuation string `yaml:"continuation"`
	// A regular expression: a line that matches ends a record.
	End string `yaml:"end"`
	// A regular expression: a line that matches goes on in the next one, as one
	// with a backslash at its end does.
	Unfinished string `yaml:"unfinished"`
	// The most lines of one record.
	MaxLines int `yaml:"max_lines" min:"2" max:"100000"`
	// The most bytes of one record.
	MaxBytes int `yaml:"max_bytes" unit:"bytes" min:"1KiB" max:"16MiB"`
	// How long a line may wait for the next one.
	MaxWait time.Duration `yaml:"max_wait" min:"1ms" max:"1h"`
}

// Filter drops records.
type Filter struct {
	// An expression: records for which it is false are dropped.
	Keep string `yaml:"keep"`
	// An expression: records for which it is true are dropped.
	Drop string `yaml:"drop"`
	// The reason that dropped records are counted by. Empty means `filter`.
	Reason string `yaml:"reason"`
}

// Sample keeps a part of the records, and drops the others.
type Sample struct {
	// Of how many records one is kept.
	OneIn int `yaml:"one_in" min:"1" max:"1000000000"`
	// An expression: records with the same value are kept or dropped together.
	// Without it, the first record of each source and each one_in-th after it
	// is kept.
	Key string `yaml:"key"`
}

// Redact hides what must not leave the host, in the line and in all attributes.
type Redact struct {
	// What to look for: `email`, `ipv4`, `ipv6`, `card` (card numbers with a
	// valid check digit), `jwt`, `bearer`, `aws_key`, `url_password`.
	Presets []string `yaml:"presets"`
	// Regular expressions of what else to look for. With groups, these
	// alone are hidden.
	Patterns []string `yaml:"patterns"`
	// What alone to look at: `line`, an attribute, or `label.NAME`. Empty means
	// all of them.
	Only string `yaml:"only"`
	// What to do: `replace` it by a text, by a `hash` that is the same for the
	// same secret, or `drop` the record.
	Action string `yaml:"action" oneof:"replace hash drop"`
	// The text that stands in its place.
	With string `yaml:"with"`
	// The key of the hash, at least 16 characters. Without it a hash could be
	// undone by trying.
	Key secret.Text `yaml:"key"`
	// A file that holds the key.
	KeyFile string `yaml:"key_file"`
}

// Set sets attributes, labels and the line.
type Set struct {
	// Names and expressions. A name is that of an attribute, `label.NAME`,
	// `line`, or `level`. An expression that gives nil changes nothing.
	Values map[string]string `yaml:"values"`
}

// Remove takes attributes away.
type Remove struct {
	// Patterns of names, with `*` for any text. `label.NAME` is a label.
	Fields []string `yaml:"fields"`
	// Whether all attributes but these are taken away.
	Others bool `yaml:"others"`
}

// Rename renames attributes.
type Rename struct {
	// Names, and what they are to be. A name that is there already is replaced.
	Fields map[string]string `yaml:"fields"`
}

// Template puts a text together.
type Template struct {
	// What is set: an attribute, `label.NAME` or `line`.
	To string `yaml:"to"`
	// The text, with expressions in braces: `{level} {fields.msg}`. A brace
	// that is meant as such is written twice.
	Text string `yaml:"text"`
}

// Collapse joins repeats: lines of one stream that are the same and follow each
// other. The first is sent on at once; those after it become one record, with
// their number in the attribute `repeated`.
type Collapse struct {
	// How long repeats are collected, from the second on.
	Window time.Duration `yaml:"window" min:"1ms" max:"1h"`
	// An expression: records with the same value are repeats. Empty means the
	// line.
	Key string `yaml:"key"`
}

// Limit drops what is more than a rate. It goes by the times of the records,
// so that lines that are read late count as they would have in time.
type Limit struct {
	// The most lines a second. 0 means any number.
	Lines int `yaml:"lines_per_second" min:"0" max:"1000000000"`
	// The most bytes of lines a second. 0 means any number.
	Bytes int `yaml:"bytes_per_second" unit:"bytes" min:"0" max:"1TiB"`
	// How many seconds' worth may come at once.
	Burst int `yaml:"burst" min:"1" max:"3600"`
	// An expression: each of its values has the rate for itself, within each
	// container. Empty means that a container has it.
	Key string `yaml:"key"`
	// The most values of key that are told apart in a container. The others
	// share one rate.
	MaxKeys int `yaml:"max_keys" min:"1" max:"100000"`
}

// MetricsOptions counts records, and measures what they hold, for `/metrics`.
type MetricsOptions struct {
	// The metrics.
	Metrics []MetricOptions `yaml:"metrics"`
	// The most series of each metric. What would make more is counted in a
	// series whose labels are all `other`.
	MaxSeries int `yaml:"max_series" min:"1" max:"100000"`
}

// MetricOptions is one metric made from logs.
type MetricOptions struct {
	// The name, which must not begin with `log_capturer_`.
	Name string `yaml:"name"`
	// What the metric is.
	Type string `yaml:"type" oneof:"counter gauge histogram"`
	// What it means.
	Help string `yaml:"help"`
	// An expression: a number that is added, set or observed. Empty means 1,
	// which a counter alone can do.
	Value string `yaml:"value"`
	// Names and expressions of the labels.
	Labels map[string]string `yaml:"labels"`
	// The upper bounds of a histogram. Empty means 0.005 to 10.
	Buckets []string `yaml:"buckets"`
}

// Route says which sinks a record goes to.
type Route struct {
	// The rules, tried in this order.
	Rules []Rule `yaml:"rules"`
	// Where a record goes that no rule matches: `all` sinks, `none` (it is
	// dropped and counted), or the name of one.
	Default string `yaml:"default"`
	// Whether the rules after one that matches are tried as well; the record
	// then goes to the sinks of all that match.
	FallThrough bool `yaml:"fall_through"`
}

// Rule is one rule of a route.
type Rule struct {
	// An expression: the rule is for records for which it is true.
	If string `yaml:"if"`
	// The sinks that the record goes to.
	Sinks []string `yaml:"sinks"`
}
