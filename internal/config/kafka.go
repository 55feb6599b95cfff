package config

// KafkaSource is the section of the Kafka source.
type KafkaSource struct {
	// Whether topics are read at all.
	Enabled bool `yaml:"enabled"`
	// The addresses of one or more brokers, from which the others are learned.
	Brokers []string `yaml:"brokers"`
	// The topics.
	Topics []string `yaml:"topics"`
	// The consumer group. Agents of one group share the topics' partitions.
	Group string `yaml:"group"`
	// Where reading starts in a partition that the group was never in.
	StartAt string `yaml:"start_at" oneof:"beginning end"`
	// What a message is: a document as the sink of type `kafka` writes them, or
	// a line as it is. A message that is no document is a line as well.
	Format string `yaml:"format" oneof:"json text"`
	// The name of a document's time.
	TimeField string `yaml:"time_field"`
	// The name of a document's line.
	LineField string `yaml:"line_field"`
	// How often the group's offsets are moved to what is delivered.
	CommitInterval Duration `yaml:"commit_interval" min:"10ms"`
	// How long the agent waits, before it lets go of partitions, for what it has
	// read of them to be delivered. What is not is read by another as well.
	CustodyWait Duration   `yaml:"custody_wait" min:"10ms" max:"30s"`
	Login       KafkaLogin `yaml:",inline"`
}

// KafkaLogin is how brokers are connected and logged in to.
type KafkaLogin struct {
	// The login. Without it there is none.
	SASL SASL `yaml:"sasl"`
	// Whether connections are secured by TLS.
	UseTLS bool `yaml:"use_tls"`
	// How they are.
	TLS TLS `yaml:"tls"`
}

// SASL is the section of a login at a broker.
type SASL struct {
	// How the password is proven.
	Mechanism string `yaml:"mechanism" oneof:"none plain scram-sha-256 scram-sha-512"`
	// The user.
	Username string `yaml:"username"`
	// The password.
	Password Secret `yaml:"password"`
	// A file that holds the password.
	PasswordFile string `yaml:"password_file"`
}
