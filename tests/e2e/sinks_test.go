package e2e

import (
	"fmt"
	"testing"
	"time"

	"log_capturer/internal/sinks/elasticsearch/elasticsearchtest"
	"log_capturer/internal/sinks/httpjson/httpjsontest"
	"log_capturer/internal/sinks/kafka/kafkatest"
	"log_capturer/internal/sinks/otlp/otlptest"
	"log_capturer/internal/sinks/sinktest"
	"log_capturer/internal/sinks/splunk/splunktest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// taker is a destination, and what docs/delivery.md promises of it.
type taker struct {
	sinktest.Target
	// config are the lines of the sink.
	config string
	// once says that it has every line once, in spite of a kill. Else it has those
	// again that were in flight.
	once bool
	// ids says that a line that it has again has the identity that it had before.
	ids bool
}

// takers starts a destination for each sink, by its name.
func takers(t *testing.T) map[string]taker {
	named := sinktest.PlainNames
	named.ID = "record_id"
	ecs := sinktest.Names{Time: "@timestamp", Line: "message", Source: "container.name", Stream: "log.iostream"}
	search := (&elasticsearchtest.Cluster{Index: "logs-docker-default", Names: ecs}).Start(t, nil)
	plain := (&splunktest.Collector{}).Start(t, nil)
	acknowledging := (&splunktest.Collector{Acknowledges: true}).Start(t, nil)
	overHTTP, overGRPC := sinktest.StartServer(t, otlptest.HTTP, nil), sinktest.StartServer(t, otlptest.GRPC, nil)
	posted := sinktest.StartServer(t, httpjsontest.Protocol(named), nil)
	brokers := kafkatest.Start(t, nil, 3)
	brokers.Names = named
	all := map[string]taker{
		"elasticsearch": {Target: search, once: true, ids: true, config: "type: elasticsearch, urls: ['" + search.URL() + "/base']"},
		"splunk":        {Target: plain, config: "type: splunk, url: '" + plain.URL() + "', token: t, source: '{container_name}'"},
		// Of this one, what was not acknowledged is not indexed.
		"splunk_ack": {Target: acknowledging, once: true, config: "type: splunk, url: '" + acknowledging.URL() +
			"', token: t, source: '{container_name}', acknowledge: true, poll_interval: 20ms"},
		"otlp_http": {Target: overHTTP, ids: true, config: "type: otlp, url: '" + overHTTP.URL() + "', record_uid: true"},
		"otlp_grpc": {Target: overGRPC, ids: true, config: "type: otlp, protocol: grpc, url: '" + overGRPC.URL() + "', record_uid: true"},
		"http":      {Target: posted, ids: true, config: "type: http, url: '" + posted.URL() + "/ingest?a=b', id_field: record_id"},
		"kafka": {Target: brokers, ids: true, config: fmt.Sprintf("type: kafka, brokers: ['%s'], topic: %s, sasl: {mechanism: scram-sha-512, username: admin, password: admin}",
			brokers.ListenAddrs()[0], kafkatest.Topic)},
	}
	for name, to := range all {
		t.Cleanup(func() {
			to.Close()
			for _, v := range to.Violations() {
				t.Errorf("%s: against the protocol: %s", name, v)
			}
		})
	}
	return all
}

// One agent with a sink of every kind is killed while each of them has a request
// under way that its destination has stored and not answered. Every line is at every
// destination, and there again only as far as docs/delivery.md says.
func TestEverySinkAndKill(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers, batchRecords = 3, 100
	to := takers(t)
	config := monitorConfig(id, "transport: auto") + "sinks:\n" + fileSink
	for name, d := range to {
		config += fmt.Sprintf("  - {name: %s, batch_records: %d, linger: 10ms, min_backoff: 20ms, max_backoff: 200ms, concurrency: 2, %s}\n", name, batchRecords, d.config)
	}
	a := agent.Start(t, agent.Options{Config: config})
	var running []*enginetest.Container
	byName := map[string]*enginetest.Container{}
	for range containers {
		c := engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "200", "-streams", "both", "-size", "100,300", "-payload", "mixed"},
		})
		name, err := c.Name()
		enginetest.Must(t, err)
		running, byName[name] = append(running, c), c
	}
	delivered := func(what string, least uint64) {
		enginetest.Eventually(t, 2*time.Minute, what, func() bool {
			for name := range to {
				if acknowledged(t, a, name) < least {
					return false
				}
			}
			return acknowledged(t, a, "local_file") >= least
		})
	}
	delivered("every sink delivers", 1000)
	before := map[string]int{}
	for name, d := range to {
		d.SetFault(func(n int) sinktest.Fault {
			if n == 0 {
				return sinktest.Fault{Kind: sinktest.Lost}
			}
			return sinktest.Fault{Kind: sinktest.Hang}
		})
		before[name] = d.Requests()
	}
	enginetest.Eventually(t, time.Minute, "every destination has stored what it does not answer", func() bool {
		for name, d := range to {
			if d.Requests() <= before[name] {
				return false
			}
		}
		return true
	})
	a.Kill()
	for _, d := range to {
		d.SetFault(nil)
	}
	a.Start()
	delivered("every sink delivers again", 1000)
	files := ledger.New()
	ledgers := []*ledger.Ledger{files}
	arrived := map[string]*ledger.Ledger{}
	for name := range to {
		arrived[name] = ledger.New()
		ledgers = append(ledgers, arrived[name])
	}
	stopAll(t, running, ledgers...)
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	countFiles(t, a, files)
	check(t, "local_file", files)
	for name, d := range to {
		lines := d.Lines()
		for _, l := range lines {
			c := byName[l.Source]
			if c == nil {
				t.Fatalf("%s: a line of %q", name, l.Source)
			}
			arrived[name].ObserveStream(c.ID, l.Stream, []byte(l.Text))
		}
		report := arrived[name].Check()
		t.Logf("%s: %v", name, report)
		switch {
		case d.once && !report.OK(), !report.OKButRepeated():
			t.Errorf("%s: %v", name, report)
		case !d.once && (report.Repeated == 0 || report.Repeated > 3*batchRecords):
			t.Errorf("%s: %d lines are there again, want those of the request that was not answered", name, report.Repeated)
		}
		if d.ids {
			checkIdentities(t, name, lines)
		}
	}
}

// checkIdentities checks that each line has an identity of its own, which it has
// wherever it is there again.
func checkIdentities(t *testing.T, where string, lines []sinktest.Line) {
	t.Helper()
	ids, texts := map[string]sinktest.Line{}, map[sinktest.Line]string{}
	for _, l := range lines {
		of := sinktest.Line{Source: l.Source, Stream: l.Stream, Text: l.Text}
		if other, ok := ids[l.ID]; ok && other != of || l.ID == "" {
			t.Errorf("%s: the identity %q is that of %v and of %v", where, l.ID, other, of)
			return
		}
		if other, ok := texts[of]; ok && other != l.ID {
			t.Errorf("%s: %v came with the identities %q and %q", where, of, other, l.ID)
			return
		}
		ids[l.ID], texts[of] = of, l.ID
	}
}
