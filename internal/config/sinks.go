package config

import "slices"

// The types of sinks.
const (
	TypeLocalFile = "local_file"
	TypeLoki      = "loki"
	TypeHTTP      = "http"
	TypeStdout    = "stdout"

	TypeElasticsearch = "elasticsearch"
	TypeSplunk        = "splunk"
	TypeOTLP          = "otlp"
	TypeKafka         = "kafka"
)

// sinkTypes are the valid types, in the order in which documents list them.
var sinkTypes = []string{TypeLocalFile, TypeLoki, TypeElasticsearch, TypeKafka, TypeSplunk, TypeOTLP, TypeHTTP, TypeStdout}

// SinkTypes returns the valid types of sinks.
func SinkTypes() []string { return slices.Clone(sinkTypes) }

// Sink is one destination. Of the sections of the types, the one that Type names
// is set.
type Sink struct {
	// What the destination is.
	Type string `yaml:"type"`
	// The sink's name in metrics, messages and positions. No two sinks have
	// the same. Keep it: under a new name the sink starts over.
	Name string `yaml:"name"`
	// How records are handed to the destination.
	Delivery Delivery `yaml:",inline"`
	// How much the destination is given in a second.
	RateLimit RateLimit `yaml:"rate_limit"`
	// What becomes of records that there is no memory for.
	Spool Spool `yaml:"spool"`

	LocalFile *LocalFile `yaml:",inline"`
	Loki      *Loki      `yaml:",inline"`
	HTTP      *HTTP      `yaml:",inline"`
	Stdout    *Stdout    `yaml:",inline"`

	Elasticsearch *Elasticsearch `yaml:",inline"`
	Splunk        *Splunk        `yaml:",inline"`
	OTLP          *OTLP          `yaml:",inline"`
	Kafka         *Kafka         `yaml:",inline"`
}

// Delivery holds what sinks of every type have in common.
type Delivery struct {
	// The most requests under way at once. The records of one container's
	// stream stay in order whatever it is.
	Concurrency int `yaml:"concurrency" min:"1" max:"256"`
	// The most bytes of lines in one request. One longer line still makes a
	// request of its own.
	BatchBytes ByteSize `yaml:"batch_bytes" min:"1KiB" max:"1GiB"`
	// The most records in one request.
	BatchRecords int `yaml:"batch_records" min:"1" max:"1000000"`
	// How long a record may wait for others to share its request.
	Linger Duration `yaml:"linger" min:"0s"`
	// How long one attempt may take.
	Timeout Duration `yaml:"timeout" min:"1ms"`
	// The wait after a first attempt that did not succeed. It doubles with
	// each further one, and is varied at random.
	MinBackoff Duration `yaml:"min_backoff" min:"1ms"`
	// The longest wait between two attempts.
	MaxBackoff Duration `yaml:"max_backoff" min:"1ms"`
}

// RateLimit holds the keys of a limit: a token bucket that holds a second's worth.
type RateLimit struct {
	// The most records in a second. 0 sets no limit.
	RecordsPerSecond int `yaml:"records_per_second" min:"0"`
	// The most bytes of lines in a second. 0 sets no limit.
	BytesPerSecond ByteSize `yaml:"bytes_per_second" min:"0"`
	// What becomes of more than that: it waits, or it is dropped and counted.
	WhenExceeded string `yaml:"when_exceeded" oneof:"block drop"`
}

// Spool holds the keys of a sink's queue on disk.
type Spool struct {
	// The most bytes that records take up on disk, compressed, in
	// `{data_dir}/spool`, while the destination does not take them. 0 turns the
	// spool off; what is in it then is delivered first.
	MaxBytes ByteSize `yaml:"max_bytes" min:"0"`
	// What a full spool does: containers wait, and with them the other sinks,
	// or the oldest records are dropped and counted.
	WhenFull string `yaml:"when_full" oneof:"block drop_oldest"`
}

// LocalFile holds the keys of a sink of type local_file.
type LocalFile struct {
	// The template of the files' paths. Besides the placeholders of records,
	// `{data_dir}` may be used.
	Path string `yaml:"path"`
	// What a line of the file is: an object with the line and all that is
	// known of it, or the line as the container wrote it.
	Format string `yaml:"format" oneof:"json text"`
	// When a file is closed and a new one begun.
	Rotate Rotate `yaml:"rotate"`
	// How closed files are compressed.
	Compress string `yaml:"compress" oneof:"zstd gzip none"`
	// Which closed files are deleted, oldest first.
	Retention Retention `yaml:"retention"`
}

// Rotate says when a file is closed and a new one begun. Zero turns a rule off.
type Rotate struct {
	// The size at which a file is closed. 0 turns this off.
	MaxBytes ByteSize `yaml:"max_bytes" min:"0"`
	// The age at which a file is closed. 0 turns this off.
	MaxAge Duration `yaml:"max_age" min:"0s"`
}

// Retention says which closed files are deleted. Zero turns a rule off.
type Retention struct {
	// The most closed files that are kept, for each path. 0 turns this off.
	MaxFiles int `yaml:"max_files" min:"0"`
	// The age at which a closed file is deleted. 0 turns this off.
	MaxAge Duration `yaml:"max_age" min:"0s"`
	// The most bytes that the sink's files take up together. 0 turns this off.
	MaxTotalBytes ByteSize `yaml:"max_total_bytes" min:"0"`
}

// Loki holds the keys of a sink of type loki.
type Loki struct {
	// The address of Loki: its base (`http://loki:3100`), or that of its push
	// endpoint (`http://loki:3100/loki/api/v1/push`).
	URL string `yaml:"url"`
	// How requests are encoded: protobuf with snappy, or JSON with gzip for
	// proxies that have to read them.
	Encoding string `yaml:"encoding" oneof:"protobuf json"`
	// Names and templates of the labels, the index of Loki. A label whose
	// value turns out empty is left out. Setting this key replaces the default
	// labels.
	Labels map[string]string `yaml:"labels"`
	// Names of labels that pipelines set, as in `level`, and that are to be
	// labels in Loki too, and no structured metadata. Each of their values makes
	// a Loki stream of its own: take few names with few values.
	RecordLabels []string `yaml:"record_labels"`
	// Names and templates of the structured metadata, which is kept with each
	// record and not indexed. Setting this key replaces the default; an entry
	// of the default that is a label already is left out.
	StructuredMetadata map[string]string `yaml:"structured_metadata"`
	// Whether a label may hold a container's id, which makes a new Loki stream
	// of every container that is ever started.
	AllowHighCardinality bool `yaml:"allow_high_cardinality"`
	// The template of the tenant (the header `X-Scope-OrgID`). Empty means none.
	Tenant     string     `yaml:"tenant"`
	Auth       HTTPAuth   `yaml:",inline"`
	Connection Connection `yaml:",inline"`
	// The most Loki streams in one request: 1, or 0 for any number. Loki may
	// answer that all is well although it refused entries of a stream that is
	// not the last; with 1 that cannot happen. 0 is for destinations that speak
	// Loki's protocol and answer for every stream.
	StreamsPerPush int `yaml:"streams_per_push" min:"0" max:"1"`
}

// Elasticsearch holds the keys of a sink of type elasticsearch.
type Elasticsearch struct {
	// The addresses of one or more hosts of one cluster. When one does not
	// answer, the next attempt goes to the next.
	URLs []string `yaml:"urls"`
	// Elastic Cloud's name of a deployment, in place of addresses.
	CloudID string `yaml:"cloud_id"`
	// The template of the index or data stream. In values, capitals become
	// small and what no index may have becomes `_`; an empty value is `none`.
	Index string `yaml:"index"`
	// The ingest pipeline. Empty means the index's own.
	Pipeline string `yaml:"pipeline"`
	// How requests are compressed.
	Compress  string    `yaml:"compress" oneof:"gzip none"`
	Documents Documents `yaml:",inline"`
	// An API key in its encoded form, as Elasticsearch shows it.
	APIKey Secret `yaml:"api_key"`
	// A file that holds the API key.
	APIKeyFile string     `yaml:"api_key_file"`
	Auth       HTTPAuth   `yaml:",inline"`
	Connection Connection `yaml:",inline"`
}

// Splunk holds the keys of a sink of type splunk.
type Splunk struct {
	// The address of the HTTP Event Collector, as in `https://splunk:8088`.
	URL string `yaml:"url"`
	// The token.
	Token Secret `yaml:"token"`
	// A file that holds the token.
	TokenFile string `yaml:"token_file"`
	// Where records go: to the event endpoint, with all that is known of them,
	// or to the raw endpoint, as lines that Splunk breaks and times itself.
	Endpoint string `yaml:"endpoint" oneof:"event raw"`
	// Whether a request counts as delivered only when Splunk says that it is
	// indexed. The token must have indexer acknowledgement turned on.
	Acknowledge bool `yaml:"acknowledge"`
	// The longest time between two questions for an acknowledgement.
	PollInterval Duration `yaml:"poll_interval" min:"10ms"`
	// The channel, a GUID. Empty means one that is made at each start.
	Channel string `yaml:"channel"`
	// The template of the host. This and the following three are left to the
	// token's settings where they turn out empty.
	Host string `yaml:"host"`
	// The template of the source.
	Source string `yaml:"source"`
	// The template of the source type.
	SourceType string `yaml:"sourcetype"`
	// The template of the index.
	Index string `yaml:"index"`
	// Names and templates of indexed fields, for the event endpoint. Setting
	// this key replaces the default fields.
	Fields map[string]string `yaml:"fields"`
	// How requests are compressed.
	Compress   string     `yaml:"compress" oneof:"gzip none"`
	Connection Connection `yaml:",inline"`
}

// OTLP holds the keys of a sink of type otlp.
type OTLP struct {
	// The address of the destination, as in `http://collector:4318`, or
	// `http://collector:4317` over gRPC.
	URL string `yaml:"url"`
	// How requests travel: over HTTP with protobuf, or over gRPC.
	Protocol string `yaml:"protocol" oneof:"http grpc"`
	// Names and templates of the attributes of a record's resource, which must
	// not depend on its stream. One that turns out empty is left out. Setting
	// this key replaces the default.
	ResourceAttributes map[string]string `yaml:"resource_attributes"`
	// Whether the severity of a record is looked for in the beginning of its
	// line: `WARN` by itself, or `level=warn`.
	Severity bool `yaml:"severity"`
	// Whether records have the attribute `log.record.uid`, which is the same in
	// every attempt and after every restart, so that repeats can be told.
	RecordUID bool `yaml:"record_uid"`
	// How requests are compressed.
	Compress   string     `yaml:"compress" oneof:"gzip none"`
	Auth       HTTPAuth   `yaml:",inline"`
	Connection Connection `yaml:",inline"`
}

// Kafka holds the keys of a sink of type kafka.
type Kafka struct {
	// The addresses of one or more brokers, from which the others are learned.
	Brokers []string `yaml:"brokers"`
	// The template of the topic. In values, what no topic may have becomes `_`;
	// an empty value is `none`.
	Topic string `yaml:"topic"`
	// What a message's key is, by which it finds its partition: the container's
	// id, that and the stream, or none. Without a key, records of one stream are
	// spread over partitions, and no order holds between these.
	Key string `yaml:"key" oneof:"container stream none"`
	// What a message is: a document of JSON, or the line as it is.
	Format    string    `yaml:"format" oneof:"json text"`
	Documents Documents `yaml:",inline"`
	// How batches of messages are compressed.
	Compression string `yaml:"compression" oneof:"zstd lz4 snappy gzip none"`
	// The largest message, and batch of messages before compression, that the
	// brokers take (their `message.max.bytes`). A larger record is refused.
	MaxMessageBytes ByteSize `yaml:"max_message_bytes" min:"1KiB" max:"512MiB"`
	// Whether a topic that is not there is asked for, which brokers may allow.
	CreateTopics bool `yaml:"create_topics"`
	// How long a broker has for an answer, before it is asked again.
	RequestTimeout Duration   `yaml:"request_timeout" min:"100ms"`
	Login          KafkaLogin `yaml:",inline"`
}

// HTTP holds the keys of a sink of type http.
type HTTP struct {
	// The address that JSON lines are posted to, with its path and query.
	URL string `yaml:"url"`
	// How requests are compressed.
	Compress   string     `yaml:"compress" oneof:"gzip none"`
	Documents  Documents  `yaml:",inline"`
	Auth       HTTPAuth   `yaml:",inline"`
	Connection Connection `yaml:",inline"`
}

// Stdout holds the keys of a sink of type stdout.
type Stdout struct {
	// What is written for a record: a document of JSON, or the line as it is
	// behind the name of its container.
	Format    string    `yaml:"format" oneof:"json text"`
	Documents Documents `yaml:",inline"`
}

// Documents say what a record looks like as a document of JSON.
type Documents struct {
	// The name of the record's time. Empty leaves the time out.
	TimeField string `yaml:"time_field"`
	// The name of the line. A line that is not UTF-8 stands in base64 as well,
	// under this name with `_base64` after it.
	LineField string `yaml:"line_field"`
	// The name of an identity that a record has in every attempt and after
	// every restart, by which repeats can be told. Empty leaves it out.
	IDField string `yaml:"id_field"`
	// Names and templates of everything else. A field whose value turns out
	// empty is left out. Setting this key replaces the default fields.
	Fields map[string]string `yaml:"fields"`
}

// HTTPAuth is how a sink that speaks HTTP logs in.
type HTTPAuth struct {
	// User and password of HTTP basic authentication.
	BasicAuth *BasicAuth `yaml:"basic_auth,omitempty"`
	// The token of HTTP bearer authentication.
	BearerToken Secret `yaml:"bearer_token"`
	// A file that holds the token.
	BearerTokenFile string `yaml:"bearer_token_file"`
}

// Connection is how a sink that speaks HTTP connects.
type Connection struct {
	// How the connection is secured, where the URL is `https://...`.
	TLS TLS `yaml:"tls"`
	// Further headers of every request. The values are kept secret.
	Headers map[string]Secret `yaml:"headers"`
}

// BasicAuth is the section of HTTP basic authentication.
type BasicAuth struct {
	// The user.
	Username string `yaml:"username"`
	// The password.
	Password Secret `yaml:"password"`
	// A file that holds the password.
	PasswordFile string `yaml:"password_file"`
}

// TLS is the section of a secured connection.
type TLS struct {
	// A PEM file with the authorities to trust. Empty means those of the system.
	CAFile string `yaml:"ca_file"`
	// A PEM file with the client's certificate.
	CertFile string `yaml:"cert_file"`
	// A PEM file with the key of the client's certificate.
	KeyFile string `yaml:"key_file"`
	// The name that the server's certificate must have. Empty means the host
	// of the URL.
	ServerName string `yaml:"server_name"`
	// Whether any certificate of the server is taken. Anyone on the way can
	// then read and change the records.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}
