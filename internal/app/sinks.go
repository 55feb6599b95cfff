package app

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/delivery"
	"log_capturer/internal/health"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/limit"
	"log_capturer/internal/sinks/elasticsearch"
	"log_capturer/internal/sinks/httpjson"
	"log_capturer/internal/sinks/kafka"
	"log_capturer/internal/sinks/localfile"
	"log_capturer/internal/sinks/loki"
	"log_capturer/internal/sinks/otlp"
	"log_capturer/internal/sinks/splunk"
	"log_capturer/internal/sinks/stdout"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
)

// sink is a configured destination: what brings records to it, and what else
// it has to say.
type sink struct {
	config   config.Sink
	delivery *delivery.Delivery
	// running is its delivery's, nil before that was started.
	running *running
	// spool is nil for a sink without one.
	spool *spool.Spool
	target
}

// target is what speaks to a destination.
type target struct {
	sink interface {
		delivery.Sink
		delivery.Checker
	}
	logger *slog.Logger
	// collector and reporter are nil for a sink that has no metrics or health
	// besides those of its delivery.
	collector prometheus.Collector
	reporter  health.Reporter
	checker   delivery.Checker
	// release lets go of what it holds when it is not used any more.
	release func()
}

// makeSink makes the sink that c, which is one of cfg, describes.
func (a *app) makeSink(cfg *config.Config, c config.Sink) (*sink, error) {
	s := &sink{config: c}
	var err error
	if s.target, err = a.makeTarget(cfg, c); err != nil {
		return nil, err
	}
	s.delivery = delivery.New(a.deliveryOptions(cfg, s))
	if err := a.useSpool(cfg, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close lets go of what a sink holds that does not run any more.
func (s *sink) close() {
	s.release()
	if s.spool != nil {
		if err := s.spool.Close(); err != nil {
			s.logger.Error("close_failed", "what", "spool", "error", err)
		}
	}
}

// deliveryOptions returns how a sink is delivered to.
func (a *app) deliveryOptions(cfg *config.Config, s *sink) delivery.Options {
	c, d := s.config, s.config.Delivery
	return delivery.Options{
		Name: c.Name, Sink: s.sink, Journal: a.journal, DeadLetters: a.deadLetters,
		WindowBytes: int64(cfg.WindowBytes()), Concurrency: d.Concurrency,
		BatchBytes: int(d.BatchBytes), BatchRecords: d.BatchRecords, Linger: time.Duration(d.Linger),
		Timeout: time.Duration(d.Timeout), MinBackoff: time.Duration(d.MinBackoff), MaxBackoff: time.Duration(d.MaxBackoff),
		Limit: rate(c.RateLimit), Logger: a.logger,
	}
}

// makeTarget makes what speaks to the destination of c.
func (a *app) makeTarget(cfg *config.Config, c config.Sink) (s target, err error) {
	s.release = func() {}
	logger := a.logger.With("sink", c.Name)
	s.logger = logger
	switch c.Type {
	case config.TypeLocalFile:
		files, err := localfile.New(localfile.Options{
			Name: c.Name, Dir: cfg.DataDir, Path: c.LocalFile.Path,
			Format:   localfile.Format(c.LocalFile.Format),
			Compress: localfile.Compression(c.LocalFile.Compress),
			Rotate: localfile.Rotate{
				MaxBytes: int64(c.LocalFile.Rotate.MaxBytes), MaxAge: time.Duration(c.LocalFile.Rotate.MaxAge),
			},
			Retention: localfile.Retention{
				MaxFiles: c.LocalFile.Retention.MaxFiles, MaxAge: time.Duration(c.LocalFile.Retention.MaxAge),
				MaxTotalBytes: int64(c.LocalFile.Retention.MaxTotalBytes),
			},
			Logger: logger, Journal: a.journal,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.collector, s.reporter = files, files, files
	case config.TypeLoki:
		push, err := loki.New(loki.Options{
			Name: c.Name, URL: c.Loki.URL, Encoding: loki.Encoding(c.Loki.Encoding),
			Labels: c.Loki.Labels, StructuredMetadata: c.Loki.StructuredMetadata, RecordLabels: c.Loki.RecordLabels,
			Tenant: c.Loki.Tenant, StreamsPerPush: c.Loki.StreamsPerPush,
			Client: clientOptions(c.Loki.Auth, c.Loki.Connection, c.Delivery), Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.release = push, push.Close
	case config.TypeElasticsearch:
		client := clientOptions(c.Elasticsearch.Auth, c.Elasticsearch.Connection, c.Delivery)
		withToken(&client, "ApiKey", c.Elasticsearch.APIKey, c.Elasticsearch.APIKeyFile)
		bulk, err := elasticsearch.New(elasticsearch.Options{
			URLs: c.Elasticsearch.URLs, CloudID: c.Elasticsearch.CloudID, Index: c.Elasticsearch.Index,
			Pipeline: c.Elasticsearch.Pipeline, Documents: documents(c.Elasticsearch.Documents),
			Gzip: c.Elasticsearch.Compress == "gzip", Client: client, Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.release = bulk, bulk.Close
	case config.TypeKafka:
		k := c.Kafka
		client := kafkaClient(k.Brokers, k.Login)
		client.RequestTimeout = time.Duration(k.RequestTimeout)
		produce, err := kafka.New(kafka.Options{
			Client: client, Topic: k.Topic, Key: k.Key, Text: k.Format == "text", Documents: documents(k.Documents),
			Compression: k.Compression, MaxMessageBytes: int(k.MaxMessageBytes), CreateTopics: k.CreateTopics,
			Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink = produce
	case config.TypeSplunk:
		client := clientOptions(config.HTTPAuth{}, c.Splunk.Connection, c.Delivery)
		withToken(&client, "Splunk", c.Splunk.Token, c.Splunk.TokenFile)
		events, err := splunk.New(splunk.Options{
			URL: c.Splunk.URL, Endpoint: splunk.Endpoint(c.Splunk.Endpoint), Acknowledge: c.Splunk.Acknowledge,
			PollInterval: time.Duration(c.Splunk.PollInterval), Channel: c.Splunk.Channel,
			Host: c.Splunk.Host, Source: c.Splunk.Source, SourceType: c.Splunk.SourceType, Index: c.Splunk.Index,
			Fields: c.Splunk.Fields, Gzip: c.Splunk.Compress == "gzip", Client: client, Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.release = events, events.Close
	case config.TypeOTLP:
		export, err := otlp.New(otlp.Options{
			URL: c.OTLP.URL, Protocol: otlp.Protocol(c.OTLP.Protocol), Resource: c.OTLP.ResourceAttributes,
			Severity: c.OTLP.Severity, UID: c.OTLP.RecordUID, Gzip: c.OTLP.Compress == "gzip",
			Client: clientOptions(c.OTLP.Auth, c.OTLP.Connection, c.Delivery), Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.release = export, export.Close
	case config.TypeHTTP:
		post, err := httpjson.New(httpjson.Options{
			URL: c.HTTP.URL, Documents: documents(c.HTTP.Documents), Gzip: c.HTTP.Compress == "gzip",
			Client: clientOptions(c.HTTP.Auth, c.HTTP.Connection, c.Delivery), Logger: logger,
		})
		if err != nil {
			return s, err
		}
		s.sink, s.release = post, post.Close
	case config.TypeStdout:
		out, err := stdout.New(stdout.Options{
			Text: c.Stdout.Format == "text", Documents: documents(c.Stdout.Documents), Out: a.stdout,
		})
		if err != nil {
			return s, err
		}
		s.sink = out
	default:
		return s, fmt.Errorf("no such type %q", c.Type) // validation lets none through
	}
	s.checker = s.sink
	return s, nil
}

// documents maps what documents look like.
func documents(d config.Documents) jsondoc.Options {
	return jsondoc.Options{Time: d.TimeField, Line: d.LineField, ID: d.IDField, Fields: d.Fields}
}

// kafkaClient maps how brokers are reached.
func kafkaClient(brokers []string, l config.KafkaLogin) kafkaclient.Options {
	o := kafkaclient.Options{Brokers: brokers}
	if l.SASL.Mechanism != "none" {
		o.SASL = &kafkaclient.SASL{Mechanism: l.SASL.Mechanism, Username: l.SASL.Username, PasswordFile: l.SASL.PasswordFile}
		if o.SASL.PasswordFile == "" {
			o.SASL.Password = l.SASL.Password.Reveal()
		}
	}
	if l.UseTLS {
		t := httpclient.TLS(l.TLS)
		o.TLS = &t
	}
	return o
}

// withToken sets a token that has a scheme of its own, where there is one.
func withToken(o *httpclient.Options, scheme string, token config.Secret, file string) {
	switch {
	case file != "":
		o.TokenScheme, o.BearerTokenFile = scheme, file
	case !token.IsZero():
		o.TokenScheme, o.BearerToken = scheme, token.Reveal()
	}
}

// rate maps a limit.
func rate(l config.RateLimit) limit.Rate {
	return limit.Rate{
		Records: float64(l.RecordsPerSecond), Bytes: float64(l.BytesPerSecond), Drop: l.WhenExceeded == "drop",
	}
}

// spoolDir returns the directory of all spools.
func spoolDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, SpoolDir) }

// useSpool gives the sink its spool: if one is configured, or if one that was
// turned off still holds something.
func (a *app) useSpool(cfg *config.Config, s *sink) error {
	c := s.config
	opened, err := spool.Open(filepath.Join(spoolDir(cfg), c.Name), spool.Options{
		MaxBytes: int64(c.Spool.MaxBytes), Committed: delivery.SpoolCommitted(a.journal, c.Name),
		Logger: a.logger.With("sink", c.Name),
	})
	if err != nil {
		return err
	}
	emptyOnly := c.Spool.MaxBytes == 0
	if emptyOnly && opened.Stats().Segments == 0 {
		return opened.Close()
	}
	s.spool = opened
	return s.delivery.UseSpool(delivery.SpoolOptions{
		Spool: opened, SyncJournal: a.journal.Sync,
		EmptyOnly: emptyOnly, DropOldest: c.Spool.WhenFull == "drop_oldest",
	})
}

// warnOfSpools tells of spools whose sinks are not configured any more.
func (a *app) warnOfSpools(p *parts) {
	entries, err := os.ReadDir(spoolDir(p.config))
	if err != nil {
		return // most often because there is none
	}
	for _, e := range entries {
		if p.sink(e.Name()) != nil {
			continue
		}
		dir := filepath.Join(spoolDir(p.config), e.Name())
		if held, err := spool.Held(vfs.OS{}, dir); err != nil || held > 0 {
			a.logger.Warn("spool_without_sink", "dir", dir, "records", held, "error", err,
				"hint", "configure a sink of this name to deliver them, or remove the directory to give them up")
		}
	}
}

// clientOptions maps a sink's HTTP settings.
func clientOptions(auth config.HTTPAuth, c config.Connection, d config.Delivery) httpclient.Options {
	options := httpclient.Options{
		BearerToken:  auth.BearerToken.Reveal(),
		TLS:          httpclient.TLS(c.TLS),
		Headers:      map[string]string{},
		MaxIdleConns: d.Concurrency,
	}
	if auth.BearerTokenFile != "" {
		// The client reads the file again when the token in it is rotated.
		options.BearerToken, options.BearerTokenFile = "", auth.BearerTokenFile
	}
	if auth.BasicAuth != nil {
		options.BasicAuth = &httpclient.BasicAuth{Username: auth.BasicAuth.Username}
		if auth.BasicAuth.PasswordFile != "" {
			options.BasicAuth.PasswordFile = auth.BasicAuth.PasswordFile
		} else {
			options.BasicAuth.Password = auth.BasicAuth.Password.Reveal()
		}
	}
	for name, value := range c.Headers {
		options.Headers[name] = value.Reveal()
	}
	return options
}
