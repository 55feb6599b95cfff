package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestBadConfigs shows the whole text of what is said of a bad configuration.
func TestBadConfigs(t *testing.T) {
	const loki = "sinks:\n- type: loki\n  url: http://loki:3100\n"
	const file = "sinks:\n- type: local_file\n"
	tests := []struct {
		name, text string
		want       []string
	}{
		// Syntax.
		{"tab", "\thost: a", []string{`c.yaml:1:5: tab character cannot use as a map key directly`}},
		{"open bracket", "sinks: [1, 2\nhost: a", []string{`c.yaml:2:1: ',' or ']' must be specified`}},
		{"nested colon", "log: level: info", []string{`c.yaml:1:6: mapping value is not allowed in this context`}},
		{"not UTF-8", "host: a\ndata_dir: b\xff", []string{`c.yaml:2:12: is not valid UTF-8 here`}},
		{"two documents", "host: a\n---\nhost: b", []string{`c.yaml:2:1: a second YAML document begins here; a configuration is one`}},
		{"after the end", "host: a\n...\nlog: {}", []string{`c.yaml:3:1: the YAML document ended before this`}},
		{"directive", "%YAML 1.2\n---\nhost: a", []string{`c.yaml:1:1: YAML directives are not supported`}},
		{"tag", "host: !!str 5", []string{`c.yaml:1:7: the tag !!str is not supported; leave it out`}},
		{"duplicate keys", "host: a\nlog: {level: info, level: warn}\nhost: b", []string{
			`c.yaml:2:20: the key "level" was set in line 2 already`,
			`c.yaml:3:1: the key "host" was set in line 1 already`,
		}},
		{"unknown alias", "host: *h", []string{`c.yaml:1:7: no anchor &h before this alias`}},
		{"alias of itself", "sinks: &s [*s]", []string{`c.yaml:1:12: no anchor &s before this alias`}},
		{"key of sections", "{a: b}: c", []string{`c.yaml:1:7: found an invalid key for this map`}},
		{"merge of a text", "log: {<<: info}", []string{`c.yaml:1:11: a merge key wants a section, not a single value`}},

		// Keys.
		{"root", "- host", []string{`c.yaml:1:1: want a section, not a list`}},
		{"near key", "sink: []", []string{`c.yaml:1:1: sink: unknown key "sink"; did you mean "sinks"?`}},
		{"near key in a section", "container_monitor:\n  max_stream: 10", []string{
			`c.yaml:2:3: container_monitor.max_stream: unknown key "max_stream"; did you mean "max_streams"?`}},
		{"key of another section", "window_bytes: 1MiB", []string{
			`c.yaml:1:1: window_bytes: unknown key "window_bytes"; it belongs in dispatcher`}},
		{"key of sinks", "timeout: 1s", []string{
			`c.yaml:1:1: timeout: unknown key "timeout"; it belongs in sinks[]`}},
		{"key of another type", file + "  streams_per_push: 1", []string{
			`c.yaml:3:3: sinks[0].streams_per_push: unknown key "streams_per_push"; it belongs in a sink of type loki`}},
		{"key like no other", "log: {colour: true}", []string{
			`c.yaml:1:7: log.colour: unknown key "colour"; the keys here are level, format`}},
		{"key of a number", "5: 6", []string{
			`c.yaml:1:1: 5: unknown key "5"; the keys here are data_dir, host, memory_limit, log, container_monitor, file_monitor, kafka_source, dispatcher, pipelines, sinks, dead_letters, server, metrics, pprof, selfwatch`}},

		// Files.
		{"no pattern", "file_monitor: {files: [{}]}", []string{
			`c.yaml:1:24: file_monitor.files[0].include: is empty; give the files to capture, as in /var/log/*.log`}},
		{"files of no path", "file_monitor: {files: [{include: [a.log, /var/log/], exclude: ['{x}']}]}", []string{
			`c.yaml:1:35: file_monitor.files[0].include[0]: want a pattern of absolute paths, as in /var/log/*.log, not "a.log"`,
			`c.yaml:1:42: file_monitor.files[0].include[1]: the pattern "/var/log/" is one of directories; add what the files are called, as in "/var/log/*"`,
			`c.yaml:1:64: file_monitor.files[0].exclude[0]: {x} has no meaning in what is left out; write *`}},
		{"labels of files", "file_monitor:\n  files:\n  - include: ['/srv/{a-b}/{c}/x']\n    labels: {c: d, 1: e}\n", []string{
			`c.yaml:3:15: file_monitor.files[0].include[0]: want a name of letters, digits and _ that does not begin with a digit, not "a-b"`,
			`c.yaml:3:15: file_monitor.files[0].include[0]: {c} is in labels as well`,
			`c.yaml:4:23: file_monitor.files[0].labels.1: want a name of letters, digits and _ that does not begin with a digit, not "1"`}},
		{"start of files", "file_monitor: {files: [{include: [/a], start_at: start, format: jsn}]}", []string{
			`c.yaml:1:50: file_monitor.files[0].start_at: want beginning, end or a duration such as 24h, not "start"`,
			`c.yaml:1:65: file_monitor.files[0].format: want auto, plain or cri, not "jsn"`}},
		{"long lines of files", "file_monitor: {files: [{include: [/a]}], max_line_bytes: 1GiB}", []string{
			`c.yaml:1:58: file_monitor.max_line_bytes: a line of file_monitor.max_line_bytes (1GiB) does not fit into dispatcher.window_bytes (16MiB)`}},

		// Types.
		{"section for a text", "host: {a: b}", []string{`c.yaml:1:7: host: want a text, not a section`}},
		{"text for a section", "log: info", []string{`c.yaml:1:6: log: want a section, not a single value`}},
		{"text for a list", "container_monitor: {include: {names: web}}", []string{
			`c.yaml:1:38: container_monitor.include.names: want a list, not a single value`}},
		{"list in a list", "container_monitor: {include: {names: [[web]]}}", []string{
			`c.yaml:1:39: container_monitor.include.names[0]: want a text, not a list`}},
		{"bool", "server: {enabled: yes}", []string{`c.yaml:1:19: server.enabled: want true or false, not "yes"`}},
		{"quoted bool", `server: {enabled: "true"}`, []string{
			`c.yaml:1:19: server.enabled: want true or false, not a text; remove the quotes`}},
		{"number", "container_monitor: {max_streams: 1.5}", []string{
			`c.yaml:1:34: container_monitor.max_streams: want a whole number, not "1.5"`}},
		{"quoted number", "container_monitor: {max_streams: '5'}", []string{
			`c.yaml:1:34: container_monitor.max_streams: want a whole number, not a text; remove the quotes`}},
		{"no value", "host:", []string{`c.yaml:1:1: host: has no value; leave the key out for its default`}},
		{"duration without unit", "dispatcher: {shutdown_timeout: 30}", []string{
			`c.yaml:1:32: dispatcher.shutdown_timeout: 30 has no unit; write 30s for seconds`}},
		{"duration", "dispatcher: {shutdown_timeout: soon}", []string{
			`c.yaml:1:32: dispatcher.shutdown_timeout: want a duration such as 30s, 5m or 7d, not "soon"`}},
		{"size", "dispatcher: {window_bytes: 16M}", []string{
			`c.yaml:1:28: dispatcher.window_bytes: want a size such as 16MiB, 1MB or a number of bytes, not "16M"`}},

		// Ranges.
		{"too small", "container_monitor: {max_streams: 0}", []string{
			`c.yaml:1:34: container_monitor.max_streams: 0 is too small: the least is 1`}},
		{"too large", "container_monitor: {max_streams: 10001}", []string{
			`c.yaml:1:34: container_monitor.max_streams: 10001 is too large: the most is 10000`}},
		{"short duration", "container_monitor: {rotation_interval: 1ms}", []string{
			`c.yaml:1:40: container_monitor.rotation_interval: 1ms is too small: the least is 10ms`}},
		{"large size", "dispatcher: {window_bytes: 2TiB}", []string{
			`c.yaml:1:28: dispatcher.window_bytes: 2TiB is too large: the most is 1TiB`}},
		{"near value", "log: {format: jsn}", []string{
			`c.yaml:1:15: log.format: want text or json, not "jsn"; did you mean "json"?`}},
		{"value like no other", "log: {level: 5}", []string{
			`c.yaml:1:14: log.level: want debug, info, warn or error, not "5"`}},

		// Variables.
		{"unset variable", "log:\n  level: ${LEVEL}", []string{
			`c.yaml:2:10: log.level: the environment variable LEVEL is not set; set it, or write ${LEVEL:-default}`}},
		{"two unset variables", "host: ${A}-${B}", []string{
			`c.yaml:1:7: host: the environment variable A is not set; set it, or write ${A:-default}`,
			`c.yaml:1:7: host: the environment variable B is not set; set it, or write ${B:-default}`,
		}},
		{"open variable", "host: ${A", []string{`c.yaml:1:7: host: ${ without its closing brace; write $${ for a literal ${`}},
		{"no variable", "host: ${A-b}", []string{
			`c.yaml:1:7: host: ${...} does not name a variable; write ${NAME} or ${NAME:-default}, or $${ for a literal ${`}},
		{"variable in a default", "host: ${A:-${B}}", []string{
			`c.yaml:1:7: host: the default of ${A} cannot hold another variable`}},
		{"variable of a wrong type", "container_monitor:\n  max_streams: ${WORD}", []string{
			`c.yaml:2:16: container_monitor.max_streams: want a whole number, not "word"`}},
		{"variable with a structure", "log: ${SECTION}", []string{
			`c.yaml:1:6: log: want a section, not a single value`}},

		// The container monitor.
		{"engine", "container_monitor: {docker_host: /var/run/docker.sock}", []string{
			`c.yaml:1:34: container_monitor.docker_host: want an address such as unix:///var/run/docker.sock or tcp://host:2375, not "/var/run/docker.sock"`}},
		{"engine scheme", "container_monitor: {docker_host: 'ssh://host'}", []string{
			`c.yaml:1:34: container_monitor.docker_host: the part before :// is not supported: want unix, tcp, http or https, not "ssh"`}},
		{"engine socket", "container_monitor: {docker_host: 'unix://run/docker.sock'}", []string{
			`c.yaml:1:34: container_monitor.docker_host: want unix:// and an absolute path, as in unix:///var/run/docker.sock, not "unix://run/docker.sock"`}},
		{"engine host", "container_monitor: {docker_host: 'tcp://:2375'}", []string{
			`c.yaml:1:34: container_monitor.docker_host: want a host and a port after tcp://, as in tcp://host:2375`}},
		{"patterns", "container_monitor:\n  exclude: {names: ['', a], labels: ['=x']}\n  include: {names: [a], images: ['[a-z]', '[a'], labels: ['[a', 'k=[a']}", []string{
			`c.yaml:2:21: container_monitor.exclude.names[0]: an empty pattern matches nothing`,
			`c.yaml:2:38: container_monitor.exclude.labels[0]: want key or key=pattern, not "=x"`,
			`c.yaml:3:21: container_monitor.include.names[0]: "a" is in container_monitor.exclude.names as well, which wins`,
			`c.yaml:3:43: container_monitor.include.images[1]: "[a" is no pattern: want *, ? and pairs of [ and ]`,
			`c.yaml:3:65: container_monitor.include.labels[1]: "[a" is no pattern: want *, ? and pairs of [ and ]`,
		}},
		{"memory for nothing", "memory_limit: 20MiB", []string{
			`c.yaml:1:15: memory_limit: 20MiB is too little for these sinks: each would have 0 for undelivered records, and needs 1MiB; raise it, or lower batch_bytes and concurrency`}},
		{"spool less than the window", file + "  spool: {max_bytes: 20MiB}", []string{
			`c.yaml:3:22: sinks[0].spool.max_bytes: sinks[0].spool.max_bytes (20MiB) is less than twice dispatcher.window_bytes (16MiB), and what is in memory has to fit into it`}},
		{"line over the window", "container_monitor: {max_line_bytes: 20MiB}", []string{
			`c.yaml:1:37: container_monitor.max_line_bytes: a line of container_monitor.max_line_bytes (20MiB) does not fit into dispatcher.window_bytes (16MiB)`}},

		// Sinks.
		{"no sinks", "sinks: []", []string{`c.yaml:1:1: sinks: is empty; give a sink, or leave the key out to write to files in data_dir`}},
		{"sink without a type", "sinks:\n- url: http://loki", []string{`c.yaml:2:3: sinks[0]: type is missing; it is ` + enumerate(sinkTypes)}},
		{"sink of no type", "sinks:\n- type: syslog", []string{`c.yaml:2:9: sinks[0].type: want ` + enumerate(sinkTypes) + `, not "syslog"`}},
		{"sink of nearly a type", "sinks:\n- type: lokki\n  timeout: 0", []string{
			`c.yaml:2:3: sinks[0].url: url is missing; give the address of Loki, as in http://loki:3100`,
			`c.yaml:2:9: sinks[0].type: want ` + enumerate(sinkTypes) + `, not "lokki"; did you mean "loki"?`,
			`c.yaml:3:12: sinks[0].timeout: 0 is too small: the least is 1ms`,
		}},
		{"sink without anything", "sinks: [~]", []string{`c.yaml:1:9: sinks[0]: want a section, not nothing`}},
		{"two of one name", "sinks:\n- type: local_file\n- type: local_file\n  path: x", []string{
			`c.yaml:3:3: sinks[1].name: sinks[0] has the name "local_file" already; give each sink its own`}},
		{"bad name", file + "  name: My Sink", []string{
			`c.yaml:3:9: sinks[0].name: want up to 64 of a-z, 0-9, _ and -, not "My Sink"`}},
		{"same files", "sinks:\n- type: local_file\n- type: local_file\n  name: b", []string{
			`c.yaml:3:3: sinks[1].path: sinks[0] writes the same files`}},
		{"concurrency of files", file + "  concurrency: 2", []string{
			`c.yaml:3:16: sinks[0].concurrency: a sink of type local_file writes its files one after the other; leave the key out`}},
		{"batch over the window", loki + "  batch_bytes: 1GiB", []string{
			`c.yaml:4:16: sinks[0].batch_bytes: sinks[0].batch_bytes (1GiB) does not fit into dispatcher.window_bytes (16MiB)`}},
		{"window under the batch", "container_monitor: {max_line_bytes: 64KiB}\ndispatcher: {window_bytes: 512KiB}", []string{
			`c.yaml:2:28: dispatcher.window_bytes: sinks[0].batch_bytes (1MiB) does not fit into dispatcher.window_bytes (512KiB)`}},
		{"linger", loki + "  linger: 1m", []string{`c.yaml:4:11: sinks[0].linger: linger (1m) is longer than timeout (30s)`}},
		{"timeout under linger", loki + "  timeout: 5ms", []string{`c.yaml:4:12: sinks[0].timeout: linger (40ms) is longer than timeout (5ms)`}},
		{"backoff", loki + "  min_backoff: 1m\n  max_backoff: 5s", []string{
			`c.yaml:4:16: sinks[0].min_backoff: min_backoff (1m) is longer than max_backoff (5s)`}},
		{"no contradiction with a bad value", loki + "  min_backoff: 1m\n  max_backoff: x", []string{
			`c.yaml:5:16: sinks[0].max_backoff: want a duration such as 30s, 5m or 7d, not "x"`}},

		// local_file.
		{"placeholder", file + "  path: '{data_dir}/{contaner_name}.log'", []string{
			`c.yaml:3:9: sinks[0].path: unknown placeholder {contaner_name}; did you mean {container_name}?`}},
		{"path of a directory", file + "  path: logs/", []string{`c.yaml:3:9: sinks[0].path: want the path of a file, not "logs/"`}},
		{"total under one file", file + "  retention: {max_total_bytes: 1MiB}", []string{
			`c.yaml:3:32: sinks[0].retention.max_total_bytes: retention.max_total_bytes (1MiB) is less than one file of rotate.max_bytes (100MiB)`}},
		{"retention of nothing", file + "  rotate: {max_bytes: 0}\n  retention: {max_files: 3}", []string{
			`c.yaml:4:3: sinks[0].retention: retention deletes closed files, and none is ever closed: rotate is off, and path has neither {date} nor {hour}`}},

		// loki.
		{"no url", "sinks:\n- type: loki", []string{
			`c.yaml:2:3: sinks[0].url: url is missing; give the address of Loki, as in http://loki:3100`}},
		{"url", "sinks: [{type: loki, url: loki:3100}]", []string{
			`c.yaml:1:27: sinks[0].url: want an address such as http://loki:3100 or https://logs.example.com`}},
		{"password in the url", "sinks: [{type: loki, url: 'http://u:hunter2@loki'}]", []string{
			`c.yaml:1:27: sinks[0].url: user and password do not belong in the address; use basic_auth`}},
		{"query in the url", "sinks: [{type: loki, url: 'http://loki/?a=b'}]", []string{
			`c.yaml:1:27: sinks[0].url: want an address without a query and a fragment`}},
		{"TLS without TLS", loki + "  tls: {server_name: a}", []string{
			`c.yaml:4:3: sinks[0].tls: tls has no effect: the url begins with http://`}},
		{"labels", loki + "  labels: {9: a, __x: b, id: '{container_id}', t: '{date}', u: '{'}", []string{
			`c.yaml:4:15: sinks[0].labels.9: want a name of letters, digits and _ that does not begin with a digit, not "9"`,
			`c.yaml:4:23: sinks[0].labels.__x: names that begin with __ are Loki's own`,
			`c.yaml:4:30: sinks[0].labels.id: a label with {container_id} makes a new Loki stream of every container that is ever started; move it to structured_metadata, or set allow_high_cardinality: true`,
			`c.yaml:4:51: sinks[0].labels.t: {date} and {hour} have no place here: Loki keeps the time of every record`,
			`c.yaml:4:64: sinks[0].labels.u: compile template "{": '{' at byte 1 is not closed (write '{{' for a brace)`,
		}},
		{"no labels", loki + "  labels: {}", []string{`c.yaml:4:3: sinks[0].labels: is empty; Loki wants at least one label`}},
		{"label and metadata", loki + "  structured_metadata: {host: '{host}'}", []string{
			`c.yaml:4:31: sinks[0].structured_metadata.host: host is a label as well; leave one of them out`}},
		{"tenant", loki + "  tenant: '{hour}'", []string{
			`c.yaml:4:11: sinks[0].tenant: {date} and {hour} have no place here: Loki keeps the time of every record`}},
		{"two authentications", loki + "  basic_auth: {username: a, password: b}\n  bearer_token: c", []string{
			`c.yaml:4:3: sinks[0].basic_auth: basic_auth and bearer_token exclude each other; leave one of them out`}},
		{"no user", loki + "  basic_auth: {password: b}", []string{`c.yaml:4:3: sinks[0].basic_auth.username: username is missing`}},
		{"secret twice", loki + "  bearer_token: a\n  bearer_token_file: /b", []string{
			`c.yaml:5:22: sinks[0].bearer_token_file: bearer_token is set as well; leave one of them out`}},
		{"no file of a secret", loki + "  bearer_token_file: /nonexistent/token", []string{
			`c.yaml:4:22: sinks[0].bearer_token_file: open /nonexistent/token: no such file or directory`}},
		{"secret of a wrong type", loki + "  bearer_token: [hunter2]", []string{
			`c.yaml:4:17: sinks[0].bearer_token: want a single value, not a list`}},
		{"secret of a bad variable", loki + "  bearer_token: hunter2${hunter-2}", []string{
			`c.yaml:4:17: sinks[0].bearer_token: ${...} does not name a variable; write ${NAME} or ${NAME:-default}, or $${ for a literal ${`}},
		{"headers", loki + "  bearer_token: a\n  tenant: b\n  headers: {'a b': c, Host: d, authorization: e, x-scope-orgid: f, X: \"g\\n\"}", []string{
			`c.yaml:6:20: sinks[0].headers.a b: "a b" is no name of a header`,
			`c.yaml:6:29: sinks[0].headers.Host: this header is set by the sink`,
			`c.yaml:6:47: sinks[0].headers.authorization: the sink's credentials set this header; leave one of them out`,
			`c.yaml:6:65: sinks[0].headers.x-scope-orgid: tenant sets this header; leave one of them out`,
			`c.yaml:6:71: sinks[0].headers.X: the value of a header is one line`,
		}},
		{"certificate without key", "sinks:\n- type: loki\n  url: https://l\n  tls:\n    cert_file: a", []string{
			`c.yaml:5:16: sinks[0].tls.cert_file: cert_file and key_file are given together or not at all`}},
		{"authorities and none", "sinks:\n- type: loki\n  url: https://l\n  tls: {insecure_skip_verify: true, ca_file: /nonexistent}", []string{
			`c.yaml:4:31: sinks[0].tls.insecure_skip_verify: ca_file has no effect: insecure_skip_verify takes any certificate`,
			`c.yaml:4:46: sinks[0].tls.ca_file: open /nonexistent: no such file or directory`,
		}},

		// Documents.
		{"documents", "sinks:\n- type: stdout\n  concurrency: 2\n  line_field: \"\"\n  id_field: time\n  fields: {cut: x, line_base64: x, a: '{hour}', b: '{nmae}'}", []string{
			`c.yaml:3:16: sinks[0].concurrency: a sink of type stdout writes one line after the other; leave the key out`,
			`c.yaml:4:15: sinks[0].line_field: is empty; the line needs a name`,
			`c.yaml:5:13: sinks[0].id_field: the name "time" is that of time_field already; give each its own`,
			`c.yaml:6:17: sinks[0].fields.cut: the name "cut" is that of a mark already; give each its own`,
			`c.yaml:6:39: sinks[0].fields.a: {date} and {hour} have no place here: a document has the time of its record`,
			`c.yaml:6:52: sinks[0].fields.b: unknown placeholder {nmae}; did you mean {image}?`,
		}},
		{"elasticsearch", "sinks:\n- type: elasticsearch\n  index: Logs-{date}\n- type: elasticsearch\n  name: b\n  urls: [es:9200, 'http://es']\n  cloud_id: abc\n  api_key: hunter2\n  basic_auth: {username: u}", []string{
			`c.yaml:2:3: sinks[0].urls: urls is missing; give the addresses of Elasticsearch, as in [http://elasticsearch:9200], or cloud_id`,
			`c.yaml:3:10: sinks[0].index: "Logs-{date}" has a capital letter or one of \ / * ? " < > | , # : or a space, which no index may have`,
			`c.yaml:6:10: sinks[1].urls[0]: want an address such as http://elasticsearch:9200 or https://logs.example.com`,
			`c.yaml:7:13: sinks[1].cloud_id: urls and cloud_id exclude each other; leave one of them out`,
			`c.yaml:7:13: sinks[1].cloud_id: want a name, a colon and base64: copy it from the deployment's page`,
			`c.yaml:8:12: sinks[1].api_key: api_key, basic_auth and bearer_token exclude each other; leave one of them alone`,
		}},
		{"splunk", "sinks:\n- type: splunk\n  url: https://s\n  channel: abc\n  index: '{date}'\n- type: splunk\n  name: b\n  url: https://s\n  token: t\n  endpoint: raw\n  fields: {a: b}\n- type: splunk\n  name: c\n  url: https://s\n  token: t\n  fields: {cut: b}\n  headers: {Authorization: b}", []string{
			`c.yaml:2:3: sinks[0].token: token is missing; give the collector's token, or token_file`,
			`c.yaml:4:12: sinks[0].channel: want a GUID, as in 00000000-0000-0000-0000-000000000000`,
			`c.yaml:5:10: sinks[0].index: {date} and {hour} have no place here: Splunk keeps the time of every record`,
			`c.yaml:11:3: sinks[1].fields: the raw endpoint takes no fields; leave them out`,
			`c.yaml:16:17: sinks[2].fields.cut: a field cannot have the name "cut"; rename it`,
			`c.yaml:17:28: sinks[2].headers.Authorization: the sink's credentials set this header; leave one of them out`,
		}},
		{"otlp", "sinks:\n- type: otlp\n  protocol: grpc\n  resource_attributes: {a: '{stream}', '': b}\n- type: otlp\n  name: b\n  url: collector:4318", []string{
			`c.yaml:2:3: sinks[0].url: url is missing; give the address of the destination, as in http://collector:4317`,
			`c.yaml:4:28: sinks[0].resource_attributes.a: {stream}, {date} and {hour} have no place here: a record has its stream and its time by itself`,
			`c.yaml:4:44: sinks[0].resource_attributes.: an attribute needs a name`,
			`c.yaml:7:8: sinks[1].url: want an address such as http://collector:4318 or https://logs.example.com`,
		}},
		{"kafka", "sinks:\n- type: kafka\n  topic: a b\n  sasl: {username: u}\n  tls: {server_name: x}\n- type: kafka\n  name: b\n  brokers: [kafka]\n  key: host\n  sasl: {mechanism: plain, username: u}", []string{
			`c.yaml:2:3: sinks[0].brokers: brokers is missing; give the address of one broker or more, as in [kafka:9092]`,
			`c.yaml:3:10: sinks[0].topic: want a name of letters, digits, '.', '_' and '-', not "a b"`,
			`c.yaml:4:20: sinks[0].sasl.username: a user without a mechanism; give plain, scram-sha-256 or scram-sha-512`,
			`c.yaml:5:3: sinks[0].tls: tls has no effect without use_tls: true`,
			`c.yaml:8:13: sinks[1].brokers[0]: want host:port, as in kafka:9092, not "kafka"`,
			`c.yaml:9:8: sinks[1].key: want container, stream or none, not "host"`,
			`c.yaml:10:3: sinks[1].sasl.password: password is missing; give it, or password_file`,
		}},
		{"kafka source", "kafka_source: {enabled: true, group: '', line_field: time, sasl: {mechanism: plain}}", []string{
			`c.yaml:1:1: kafka_source.brokers: brokers is missing; give the address of one broker or more, as in [kafka:9092]`,
			`c.yaml:1:1: kafka_source.topics: topics is missing; give the topics to read`,
			`c.yaml:1:38: kafka_source.group: is empty; give the name of a consumer group`,
			`c.yaml:1:54: kafka_source.line_field: want the name of a document's line, not "time"`,
			`c.yaml:1:60: kafka_source.sasl.username: username is missing`,
		}},
		{"http", "sinks:\n- type: http\n  url: logs:80/a\n  compress: zip\n- type: http\n  name: b\n  fields: {line: x}\n  headers: {'a b': c}", []string{
			`c.yaml:3:8: sinks[0].url: want an address such as http://logs:9428/insert/jsonline or https://logs.example.com`,
			`c.yaml:4:13: sinks[0].compress: want gzip or none, not "zip"; did you mean "gzip"?`,
			`c.yaml:5:3: sinks[1].url: url is missing; give the address of the destination, as in http://logs:9428/insert/jsonline`,
			`c.yaml:7:18: sinks[1].fields.line: the name "line" is that of line_field already; give each its own`,
			`c.yaml:8:20: sinks[1].headers.a b: "a b" is no name of a header`,
		}},

		// Listeners.
		{"address", "server: {listen: localhost}", []string{
			`c.yaml:1:18: server.listen: want host:port, as in 127.0.0.1:8401, not "localhost"`}},
		{"port", "server: {listen: 'localhost:http'}", []string{
			`c.yaml:1:18: server.listen: want a port from 0 to 65535, not "http"`}},
		{"one port for two", "metrics: {listen: ':6060'}", []string{
			`c.yaml:1:19: metrics.listen: metrics.listen and pprof.listen have the same port 6060`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := Parse("c.yaml", []byte(test.text), environment("WORD", "word", "SECTION", "{level: info}"))
			if err == nil {
				t.Fatalf("no error for\n%s", test.text)
			}
			if cfg != nil {
				t.Error("a bad configuration was returned")
			}
			if want := strings.Join(test.want, "\n"); err.Error() != want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", test.text, err, want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the text of a secret is shown")
			}
		})
	}
}

// One run finds everything that is wrong with a file.
func TestManyErrorsAtOnce(t *testing.T) {
	text, err := os.ReadFile("testdata/many_errors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("many_errors.yaml", text, environment())
	list, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("got %v, want Errors", err)
	}
	golden(t, "many_errors.golden.txt", []byte(list.Error()+"\n"))
	for _, e := range list {
		if e.Line == 0 || e.Column == 0 || e.File != "many_errors.yaml" {
			t.Errorf("no position: %+v", e)
		}
		if !errors.Is(err, e) {
			t.Errorf("%v is not found in the list", e)
		}
	}
}
