package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/glob"
	"log_capturer/internal/livetail"
	"log_capturer/internal/monitors/container"
	"log_capturer/internal/monitors/file"
	"log_capturer/internal/monitors/kafka"
)

// monitorKind is a kind of monitor, of which there is one or none.
type monitorKind struct {
	// key is its section of the configuration, and its component.
	key string
	// make makes it as the configuration of p says, and puts it there. Since is
	// when the one has ended that it follows, zero for the first.
	make func(a *app, p *parts, since time.Time) error
	// run returns what runs the one of p, nil where there is none.
	run func(p *parts) func(context.Context) error
}

// monitors are all kinds, in the order in which they are started.
var monitors = []monitorKind{
	{"container_monitor", (*app).makeMonitor, func(p *parts) func(context.Context) error {
		if p.monitor == nil {
			return nil
		}
		return p.monitor.Run
	}},
	{"file_monitor", (*app).makeFileMonitor, func(p *parts) func(context.Context) error {
		if p.files == nil {
			return nil
		}
		return p.files.Run
	}},
	{"kafka_source", (*app).makeKafkaSource, func(p *parts) func(context.Context) error {
		if p.kafka == nil {
			return nil
		}
		return p.kafka.Run
	}},
}

func (a *app) makeMonitor(p *parts, since time.Time) error {
	p.engine, p.monitor = nil, nil
	c := p.config.ContainerMonitor
	if !c.Enabled {
		return nil
	}
	var err error
	if p.engine, err = container.NewDocker(c.DockerHost); err != nil {
		return err
	}
	p.monitor = container.New(container.Options{
		Engine: p.engine, Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Host: a.host,
		Filter: container.Filter{
			Include: container.Selection(c.Include), Exclude: container.Selection(c.Exclude),
			Self: container.SelfID(),
		},
		Transport: container.Transport(c.Transport), DataRoot: c.DataRoot,
		StartAtEnd: c.StartAt == config.StartAtEnd, Since: since, MaxStreams: c.MaxStreams,
		RotationInterval:  time.Duration(c.RotationInterval),
		HeartbeatInterval: time.Duration(c.HeartbeatInterval),
		ReconcileInterval: time.Duration(c.ReconcileInterval),
		MaxLineBytes:      int(c.MaxLineBytes),
		PositionRetention: time.Duration(c.PositionRetention),
		Known:             a.knownSources, Logger: a.logger,
	})
	return nil
}

func (a *app) makeFileMonitor(p *parts, since time.Time) error {
	p.files = nil
	c := p.config.FileMonitor
	if !c.Enabled || len(c.Files) == 0 {
		return nil
	}
	own, err := filepath.Abs(p.config.DataDir)
	if err != nil {
		return fmt.Errorf("find data_dir: %w", err)
	}
	options := file.Options{
		Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Host: a.host, Own: own, Since: since,
		ScanInterval: time.Duration(c.ScanInterval), RotateWait: time.Duration(c.RotateWait),
		MaxOpenFiles: c.MaxOpenFiles, MaxLineBytes: int(c.MaxLineBytes),
		PositionRetention: time.Duration(c.PositionRetention),
		Known:             a.knownSources, Logger: a.logger,
	}
	for _, set := range c.Files {
		age, _ := set.StartAge()
		files := file.Files{
			Labels: set.Labels, StartAtEnd: set.StartAt == config.StartAtEnd, StartAge: age, Format: file.Format(set.Format),
		}
		if files.Include, err = compileAll(set.Include, glob.Compile); err != nil {
			return err
		}
		if files.Exclude, err = compileAll(set.Exclude, glob.CompileExclude); err != nil {
			return err
		}
		options.Files = append(options.Files, files)
	}
	p.files = file.New(options)
	return nil
}

// compileAll compiles patterns, which the configuration has checked.
func compileAll(texts []string, compile func(string) (*glob.Pattern, error)) ([]*glob.Pattern, error) {
	var patterns []*glob.Pattern
	for _, text := range texts {
		p, err := compile(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func (a *app) makeKafkaSource(p *parts, _ time.Time) error {
	p.kafka = nil
	if !p.config.KafkaSource.Enabled {
		return nil
	}
	var err error
	if p.kafka, err = kafka.New(a.kafkaOptions(p.config.KafkaSource)); err != nil {
		return fmt.Errorf("make kafka_source: %w", err)
	}
	return nil
}

func (a *app) kafkaOptions(c config.KafkaSource) kafka.Options {
	return kafka.Options{
		Client: kafkaClient(c.Brokers, c.Login), Topics: c.Topics, Group: c.Group,
		StartAtEnd:     c.StartAt == config.StartAtEnd,
		Messages:       kafka.Messages{Text: c.Format == "text", Time: c.TimeField, Line: c.LineField},
		CommitInterval: time.Duration(c.CommitInterval), CustodyWait: time.Duration(c.CustodyWait),
		Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Logger: a.logger,
	}
}
