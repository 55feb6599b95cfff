package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"log_capturer/internal/template"
)

var sinkName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// sinks checks the destinations.
func (v validator) sinks(c *Config) {
	if len(c.Sinks) == 0 {
		v.wrong("sinks", "is empty; give a sink, or leave the key out to write to files in data_dir")
	}
	names, paths := map[string]string{}, map[string]string{}
	for i := range c.Sinks {
		s, path := &c.Sinks[i], fmt.Sprintf("sinks[%d]", i)
		if s.Type == "" || v.failed[path] {
			continue // the type is not known, and that is reported
		}
		v.sinkName(s, path, names)
		v.delivery(s, path, c)
		switch {
		case s.LocalFile != nil:
			v.localFile(s.LocalFile, path, c.DataDir)
			if other, ok := paths[s.LocalFile.Path]; ok {
				v.contradiction([]string{path + ".path", other + ".path"}, "%s writes the same files", other)
			} else {
				paths[s.LocalFile.Path] = path
			}
		case s.Loki != nil:
			v.loki(s.Loki, path)
		case s.Elasticsearch != nil:
			v.elasticsearch(s.Elasticsearch, path)
		case s.Splunk != nil:
			v.splunk(s.Splunk, path)
		case s.OTLP != nil:
			v.otlp(s.OTLP, path)
		case s.Kafka != nil:
			v.kafka(s.Kafka, path)
		case s.HTTP != nil:
			v.http(s.HTTP, path)
		case s.Stdout != nil:
			v.documents(s.Stdout.Documents, path)
		}
	}
}

// sinkName checks the name of a sink; names holds those of the sinks before it.
func (v validator) sinkName(s *Sink, path string, names map[string]string) {
	if !sinkName.MatchString(s.Name) {
		v.wrong(path+".name", "want up to 64 of a-z, 0-9, _ and -, not %q", shorten(s.Name))
		return
	}
	if other, ok := names[s.Name]; ok {
		v.wrong(path+".name", "%s has the name %q already; give each sink its own", other, s.Name)
		return
	}
	names[s.Name] = path
}

// delivery checks what sinks of every type have in common.
func (v validator) delivery(s *Sink, path string, c *Config) {
	d := &s.Delivery
	if s.LocalFile != nil && d.Concurrency != 1 {
		v.wrong(path+".concurrency", "a sink of type %s writes its files one after the other; leave the key out", s.Type)
	}
	if s.Stdout != nil && d.Concurrency != 1 {
		v.wrong(path+".concurrency", "a sink of type %s writes one line after the other; leave the key out", s.Type)
	}
	if d.BatchBytes > c.Dispatcher.WindowBytes {
		v.contradiction([]string{path + ".batch_bytes", "dispatcher.window_bytes"},
			"%s.batch_bytes (%s) does not fit into dispatcher.window_bytes (%s)", path, d.BatchBytes, c.Dispatcher.WindowBytes)
	}
	if s.Spool.MaxBytes > 0 && s.Spool.MaxBytes < 2*c.Dispatcher.WindowBytes {
		v.contradiction([]string{path + ".spool.max_bytes", "dispatcher.window_bytes"},
			"%s.spool.max_bytes (%s) is less than twice dispatcher.window_bytes (%s), and what is in memory has to fit into it",
			path, s.Spool.MaxBytes, c.Dispatcher.WindowBytes)
	}
	if d.Linger > d.Timeout {
		v.contradiction([]string{path + ".linger", path + ".timeout"},
			"linger (%s) is longer than timeout (%s)", d.Linger, d.Timeout)
	}
	if d.MinBackoff > d.MaxBackoff {
		v.contradiction([]string{path + ".min_backoff", path + ".max_backoff"},
			"min_backoff (%s) is longer than max_backoff (%s)", d.MinBackoff, d.MaxBackoff)
	}
}

func (v validator) localFile(f *LocalFile, path, dataDir string) {
	if f.Path == "" || strings.HasSuffix(f.Path, "/") {
		v.wrong(path+".path", "want the path of a file, not %q", shorten(f.Path))
	}
	if f.Retention.MaxTotalBytes > 0 && f.Retention.MaxTotalBytes < f.Rotate.MaxBytes {
		v.contradiction([]string{path + ".retention.max_total_bytes", path + ".rotate.max_bytes"},
			"retention.max_total_bytes (%s) is less than one file of rotate.max_bytes (%s)",
			f.Retention.MaxTotalBytes, f.Rotate.MaxBytes)
	}
	compiled := v.template(path+".path", f.Path, map[string]string{"data_dir": dataDir})
	if compiled != nil && !compiled.UsesTime() && f.Rotate == (Rotate{}) && f.Retention != (Retention{}) {
		v.contradiction([]string{path + ".retention", path + ".rotate"},
			"retention deletes closed files, and none is ever closed: rotate is off, and path has neither {date} nor {hour}")
	}
}

// template compiles a template. It reports what is wrong, and returns nil then.
func (v validator) template(path, text string, constants map[string]string) *template.Template {
	compiled, err := template.Compile(text, constants)
	if err != nil {
		// The text stands where the error points to.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		v.wrong(path, "%s", err)
		return nil
	}
	return compiled
}
