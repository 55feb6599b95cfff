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
			StartAt:           "beginning",
			MaxStreams:        50,
			RotationInterval:  Duration(5 * time.Minute),
			HeartbeatInterval: Duration(30 * time.Second),
			ReconcileInterval: Duration(time.Minute),
			MaxLineBytes:      mib,
			PositionRetention: Duration(24 * time.Hour),
		},
		Dispatcher: Dispatcher{
			WindowBytes:     16 * mib,
			ShutdownTimeout: Duration(30 * time.Second),
		},
		Sinks:   []Sink{defaultSink(TypeLocalFile)},
		Server:  Listener{Enabled: true, Listen: "127.0.0.1:8401"},
		Metrics: Listener{Enabled: true, Listen: "127.0.0.1:8001"},
		Pprof:   Listener{Enabled: true, Listen: "127.0.0.1:6060"},
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
			Linger:       Duration(100 * time.Millisecond),
			Timeout:      Duration(30 * time.Second),
			MinBackoff:   Duration(500 * time.Millisecond),
			MaxBackoff:   Duration(30 * time.Second),
		},
		Spool: Spool{WhenFull: "block"},
	}
	switch typ {
	case TypeLocalFile:
		sink.Delivery.Concurrency = 1
		sink.Delivery.Linger = Duration(50 * time.Millisecond)
		sink.LocalFile = &LocalFile{
			Path:     "{data_dir}/logs/{container_name}.log",
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
			},
			StructuredMetadata: map[string]string{
				"container_id": "{container_id}",
				"image":        "{image}",
				"stream":       "{stream}",
			},
			StreamsPerPush: 1,
		}
	}
	return sink
}
