package config

// The types of sinks.
const (
	TypeLocalFile = "local_file"
	TypeLoki      = "loki"
)

// sinkTypes are the valid types, in the order in which documents list them.
var sinkTypes = []string{TypeLocalFile, TypeLoki}

// Sink is one destination. Of LocalFile and Loki, the one that Type names is
// set.
type Sink struct {
	// What the destination is.
	Type string `yaml:"type"`
	// The sink's name in metrics, messages and positions. No two sinks have
	// the same. Keep it: under a new name the sink starts over.
	Name string `yaml:"name"`
	// How records are handed to the destination.
	Delivery Delivery `yaml:",inline"`
	// What becomes of records that there is no memory for.
	Spool Spool `yaml:"spool"`

	LocalFile *LocalFile `yaml:",inline"`
	Loki      *Loki      `yaml:",inline"`
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
	// Names and templates of the structured metadata, which is kept with each
	// record and not indexed. Setting this key replaces the default; an entry
	// of the default that is a label already is left out.
	StructuredMetadata map[string]string `yaml:"structured_metadata"`
	// Whether a label may hold a container's id, which makes a new Loki stream
	// of every container that is ever started.
	AllowHighCardinality bool `yaml:"allow_high_cardinality"`
	// The template of the tenant (the header `X-Scope-OrgID`). Empty means none.
	Tenant string `yaml:"tenant"`
	// User and password of HTTP basic authentication.
	BasicAuth *BasicAuth `yaml:"basic_auth,omitempty"`
	// The token of HTTP bearer authentication.
	BearerToken Secret `yaml:"bearer_token"`
	// A file that holds the token.
	BearerTokenFile string `yaml:"bearer_token_file"`
	// How the connection is secured, where the URL is `https://...`.
	TLS TLS `yaml:"tls"`
	// Further headers of every request. The values are kept secret.
	Headers map[string]Secret `yaml:"headers"`
	// The most Loki streams in one request: 1, or 0 for any number. Loki may
	// answer that all is well although it refused entries of a stream that is
	// not the last; with 1 that cannot happen. 0 is for destinations that speak
	// Loki's protocol and answer for every stream.
	StreamsPerPush int `yaml:"streams_per_push" min:"0" max:"1"`
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
