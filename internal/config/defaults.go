package config

import "time"

const (
	kib ByteSize = 1 << 10
	mib          = kib << 10
)

// Default returns the configuration of an agent that was given none. Each call
// returns a new one.
func Default() *Config {
	return &Config{
		DataDir: "./log_capturer-data",
		Log:     Log{Level: "info", Format: "text"},
		ContainerMonitor: ContainerMonitor{
			Enabled:           true,
			Transport:         "auto",
			StartAt:           "beginning",
			MaxStreams:        50,
			RotationInterval:  Duration(5 * time.Minute),
			HeartbeatInterval: Duration(30 * time.Second),
			ReconcileInterval: Duration(time.Minute),
			MaxLineBytes:      mib,
			PositionRetention: Duration(24 * time.Hour),
		},
		FileMonitor: FileMonitor{
			Enabled:           true,
			ScanInterval:      Duration(10 * time.Second),
			RotateWait:        Duration(time.Second),
			MaxOpenFiles:      512,
			MaxLineBytes:      mib,
			PositionRetention: Duration(24 * time.Hour),
		},
		KafkaSource: KafkaSource{
			Group: "log_capturer", StartAt: "beginning", Format: "json", TimeField: "time", LineField: "line",
			CommitInterval: Duration(time.Second), CustodyWait: Duration(5 * time.Second),
			Login: KafkaLogin{SASL: SASL{Mechanism: "none"}},
		},
		Dispatcher: Dispatcher{
			WindowBytes:     16 * mib,
			ShutdownTimeout: Duration(30 * time.Second),
			SourceRateLimit: RateLimit{WhenExceeded: "block"},
		},
		DeadLetters: DeadLetters{
			MaxBytes: 256 * mib,
			MaxAge:   Duration(30 * 24 * time.Hour),
		},
		Sinks:   []Sink{defaultSink(TypeLocalFile)},
		Server:  Listener{Enabled: true, Listen: "127.0.0.1:8401"},
		Metrics: Listener{Enabled: true, Listen: "127.0.0.1:8001"},
		Pprof:   Listener{Enabled: true, Listen: "127.0.0.1:6060"},
		Selfwatch: Selfwatch{
			Interval: Duration(10 * time.Second), Window: Duration(30 * time.Minute), WarmUp: Duration(5 * time.Minute),
		},
	}
}

// defaultSink returns a sink of the given type, which must be one of sinkTypes,
// as it is when nothing but its type was given. Its name is the type.
func defaultSink(typ string) Sink {
	sink := Sink{
		Type: typ,
		Name: typ,
		Delivery: Delivery{
			Concurrency:  4,
			BatchBytes:   mib,
			BatchRecords: 10000,
			Linger:       Duration(40 * time.Millisecond),
			Timeout:      Duration(30 * time.Second),
			MinBackoff:   Duration(500 * time.Millisecond),
			MaxBackoff:   Duration(30 * time.Second),
		},
		Spool:     Spool{WhenFull: "block"},
		RateLimit: RateLimit{WhenExceeded: "block"},
	}
	switch typ {
	case TypeLocalFile:
		sink.Delivery.Concurrency = 1
		sink.Delivery.Linger = Duration(50 * time.Millisecond)
		sink.LocalFile = &LocalFile{
			Path:     "{data_dir}/logs/{source}.log",
			Format:   "json",
			Rotate:   Rotate{MaxBytes: 100 * mib},
			Compress: "zstd",
		}
	case TypeLoki:
		sink.Loki = &Loki{
			Encoding: "protobuf",
			Labels: map[string]string{
				"job":             "log_capturer",
				"host":            "{host}",
				"container":       "{container_name}",
				"compose_project": "{compose_project}",
				"compose_service": "{compose_service}",
				"filename":        "{file_path}",
				"namespace":       "{namespace}",
				"pod":             "{pod}",
			},
			StructuredMetadata: map[string]string{
				"container_id": "{container_id}",
				"image":        "{image}",
				"stream":       "{stream}",
			},
			StreamsPerPush: 1,
		}
	case TypeElasticsearch:
		sink.Elasticsearch = &Elasticsearch{
			Index:    "logs-docker-default",
			Compress: "gzip",
			Documents: Documents{TimeField: "@timestamp", LineField: "message", Fields: map[string]string{
				"container.id":           "{container_id}",
				"container.name":         "{container_name}",
				"container.image.name":   "{image}",
				"docker.compose.project": "{compose_project}",
				"docker.compose.service": "{compose_service}",
				"host.name":              "{host}",
				"log.file.path":          "{file_path}",
				"log.iostream":           "{stream}",
			}},
		}
	case TypeKafka:
		sink.Kafka = &Kafka{
			Topic:           "logs",
			Key:             "container",
			Format:          "json",
			Documents:       defaultDocuments(),
			Compression:     "zstd",
			MaxMessageBytes: 1_000_000, // a little less than Kafka's own default
			RequestTimeout:  Duration(10 * time.Second),
			Login:           KafkaLogin{SASL: SASL{Mechanism: "none"}},
		}
		sink.Kafka.Documents.IDField = "record_id"
	case TypeSplunk:
		sink.Delivery.Timeout = Duration(2 * time.Minute) // acknowledgements take their time
		sink.Splunk = &Splunk{
			Endpoint:     "event",
			PollInterval: Duration(time.Second),
			Host:         "{host}",
			Source:       "{source}",
			SourceType:   "docker",
			Fields: map[string]string{
				"container_id":    "{container_id}",
				"image":           "{image}",
				"compose_project": "{compose_project}",
				"compose_service": "{compose_service}",
				"stream":          "{stream}",
			},
			Compress: "gzip",
		}
	case TypeOTLP:
		sink.OTLP = &OTLP{
			Protocol: "http",
			ResourceAttributes: map[string]string{
				"container.id":           "{container_id}",
				"container.name":         "{container_name}",
				"container.image.name":   "{image}",
				"host.name":              "{host}",
				"log.file.path":          "{file_path}",
				"docker.compose.project": "{compose_project}",
				"docker.compose.service": "{compose_service}",
			},
			Severity: true,
			Compress: "gzip",
		}
	case TypeHTTP:
		sink.HTTP = &HTTP{Compress: "gzip", Documents: defaultDocuments()}
	case TypeStdout:
		sink.Delivery.Concurrency = 1
		sink.Stdout = &Stdout{Format: "json", Documents: defaultDocuments()}
	}
	return sink
}

// defaultDocuments returns what documents look like where the destination has no
// names of its own.
func defaultDocuments() Documents {
	d := Documents{TimeField: "time", LineField: "line", Fields: map[string]string{}}
	for _, name := range []string{"container_id", "container_name", "image", "compose_project", "compose_service", "file_path", "host", "stream"} {
		d.Fields[name] = "{" + name + "}"
	}
	return d
}
