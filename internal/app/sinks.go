package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/delivery"
	"log_capturer/internal/health"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/sinks/localfile"
	"log_capturer/internal/sinks/loki"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
)

// sink is a configured destination: what brings records to it, and what else
// it has to say.
type sink struct {
	config   config.Sink
	delivery *delivery.Delivery
	// collector and reporter are nil for a sink that has no metrics or health
	// besides those of its delivery.
	collector prometheus.Collector
	reporter  health.Reporter
	close     func()
}

// makeSink makes the sink that c describes.
func (a *app) makeSink(c config.Sink) (*sink, error) {
	s := &sink{config: c, close: func() {}}
	logger := a.logger.With("sink", c.Name)
	var target delivery.Sink
	switch c.Type {
	case config.TypeLocalFile:
		files, err := localfile.New(localfile.Options{
			Name: c.Name, Dir: a.config.DataDir, Path: c.LocalFile.Path,
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
			return nil, err
		}
		target, s.collector, s.reporter = files, files, files
	case config.TypeLoki:
		push, err := loki.New(loki.Options{
			Name: c.Name, URL: c.Loki.URL, Encoding: loki.Encoding(c.Loki.Encoding),
			Labels: c.Loki.Labels, StructuredMetadata: c.Loki.StructuredMetadata,
			Tenant: c.Loki.Tenant, StreamsPerPush: c.Loki.StreamsPerPush,
			Client: clientOptions(c), Logger: logger,
		})
		if err != nil {
			return nil, err
		}
		target, s.close = push, push.Close
	default:
		return nil, fmt.Errorf("no such type %q", c.Type) // validation lets none through
	}
	d := c.Delivery
	s.delivery = delivery.New(delivery.Options{
		Name: c.Name, Sink: target, Journal: a.journal, DeadLetters: a.deadLetters,
		WindowBytes: int64(a.config.Dispatcher.WindowBytes), Concurrency: d.Concurrency,
		BatchBytes: int(d.BatchBytes), BatchRecords: d.BatchRecords, Linger: time.Duration(d.Linger),
		Timeout: time.Duration(d.Timeout), MinBackoff: time.Duration(d.MinBackoff), MaxBackoff: time.Duration(d.MaxBackoff),
		Logger: a.logger,
	})
	if err := a.useSpool(s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// spoolDir returns the directory of all spools.
func (a *app) spoolDir() string { return filepath.Join(a.config.DataDir, "spool") }

// useSpool gives the sink its spool: if one is configured, or if one that was
// turned off still holds something.
func (a *app) useSpool(s *sink) error {
	c := s.config
	opened, err := spool.Open(filepath.Join(a.spoolDir(), c.Name), spool.Options{
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
	closeSink := s.close
	s.close = func() {
		closeSink()
		a.closed("spool", opened.Close())
	}
	return s.delivery.UseSpool(delivery.SpoolOptions{
		Spool: opened, SyncJournal: a.journal.Sync,
		EmptyOnly: emptyOnly, DropOldest: c.Spool.WhenFull == "drop_oldest",
	})
}

// warnOfSpools tells of spools whose sinks are not configured any more.
func (a *app) warnOfSpools() {
	entries, err := os.ReadDir(a.spoolDir())
	if err != nil {
		return // most often because there is none
	}
	for _, e := range entries {
		if slices.ContainsFunc(a.sinks, func(s *sink) bool { return s.config.Name == e.Name() }) {
			continue
		}
		dir := filepath.Join(a.spoolDir(), e.Name())
		if held, err := spool.Held(vfs.OS{}, dir); err != nil || held > 0 {
			a.logger.Warn("spool_without_sink", "dir", dir, "records", held, "error", err,
				"hint", "configure a sink of this name to deliver them, or remove the directory to give them up")
		}
	}
}

// clientOptions maps a sink's HTTP settings.
func clientOptions(c config.Sink) httpclient.Options {
	l := c.Loki
	options := httpclient.Options{
		BearerToken: l.BearerToken.Reveal(),
		TLS: httpclient.TLS{
			CAFile: l.TLS.CAFile, CertFile: l.TLS.CertFile, KeyFile: l.TLS.KeyFile,
			ServerName: l.TLS.ServerName, InsecureSkipVerify: l.TLS.InsecureSkipVerify,
		},
		Headers:      map[string]string{},
		MaxIdleConns: c.Delivery.Concurrency,
	}
	if l.BearerTokenFile != "" {
		// The client reads the file again when the token in it is rotated.
		options.BearerToken, options.BearerTokenFile = "", l.BearerTokenFile
	}
	if l.BasicAuth != nil {
		options.BasicAuth = &httpclient.BasicAuth{Username: l.BasicAuth.Username}
		if l.BasicAuth.PasswordFile != "" {
			options.BasicAuth.PasswordFile = l.BasicAuth.PasswordFile
		} else {
			options.BasicAuth.Password = l.BasicAuth.Password.Reveal()
		}
	}
	for name, value := range l.Headers {
		options.Headers[name] = value.Reveal()
	}
	return options
}
