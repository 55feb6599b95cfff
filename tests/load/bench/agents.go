package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// job is what an agent is to do: read the files of some containers from their
// beginning and bring them to the endpoint.
type job struct {
	// dir is the agent's to keep things in.
	dir string
	// files are the json-files, label is on their containers alone.
	files []string
	label string
	// endpoint is the URL of the endpoint's root.
	endpoint string
	// transport, metrics, pprof and extra are for our own agent: how it reads,
	// where it serves its metrics and profiles, and further lines of its
	// container_monitor.
	transport string
	metrics   string
	pprof     string
	extra     []string
	// sink are further lines of our own agent's sink.
	sink []string
}

// contender is an agent that can be measured.
type contender struct {
	name string
	// command prepares the job's directory and returns how the agent is started.
	command func(binary string, j job) ([]string, error)
}

// contenders are the agents that compare looks for on the PATH. Each has the
// configuration that its documentation gives for json-files of Docker, the lines
// unpacked from their JSON, and positions kept.
var contenders = []contender{
	{"vlagent", vlagent},
	{"fluent-bit", fluentBit},
	{"otelcol", otelcol},
	{"otelcol-contrib", otelcol},
	{"alloy", alloy},
	{"promtail", promtail},
	{"filebeat", filebeat},
}

// find returns the binary of a contender, "" when it is not there.
func (c contender) find() string {
	path, err := exec.LookPath(c.name)
	if err != nil {
		return ""
	}
	return path
}

func (j job) write(name, text string) (string, error) {
	path := filepath.Join(j.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// quoted returns the files as a list of quoted words.
func (j job) quoted(separator string) string {
	var words []string
	for _, f := range j.files {
		words = append(words, fmt.Sprintf("%q", f))
	}
	return strings.Join(words, separator)
}

func logCapturer(binary string, j job) ([]string, error) {
	lines := append([]string{
		"  include: {labels: [\"" + j.label + "\"]}",
		"  transport: " + j.transport,
	}, j.extra...)
	path, err := j.write("agent.yaml", `data_dir: `+filepath.Join(j.dir, "data")+`
server: {listen: "127.0.0.1:0"}
metrics: {listen: "`+j.metrics+`"}
pprof: {listen: "`+j.pprof+`"}
container_monitor:
`+strings.Join(lines, "\n")+`
sinks:
  - type: loki
    url: `+j.endpoint+`
`+strings.Join(j.sink, "\n")+"\n")
	return []string{binary, "run", "--config", path}, err
}

func vlagent(binary string, j job) ([]string, error) {
	argv := []string{
		binary, "-remoteWrite.url=" + j.endpoint + "/insert/jsonline", "-remoteWrite.format=jsonline",
		"-tmpDataPath=" + j.dir, "-fileCollector.checkpointsPath=" + filepath.Join(j.dir, "checkpoints.json"),
		"-fileCollector.msgField=log", "-fileCollector.timeField=time", "-httpListenAddr=127.0.0.1:0",
	}
	for _, f := range j.files {
		argv = append(argv, "-fileCollector.glob="+f)
	}
	return argv, nil
}

// hostPort returns the endpoint's host and port.
func (j job) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(strings.TrimPrefix(j.endpoint, "http://"))
	return host, port
}

func fluentBit(binary string, j job) ([]string, error) {
	host, port := j.hostPort()
	parsers, err := j.write("parsers.conf", `[PARSER]
    Name docker
    Format json
    Time_Key time
    Time_Format %Y-%m-%dT%H:%M:%S.%L
`)
	if err != nil {
		return nil, err
	}
	path, err := j.write("fluent-bit.conf", `[SERVICE]
    Parsers_File `+parsers+`
[INPUT]
    Name tail
    Path `+strings.Join(j.files, ",")+`
    Parser docker
    DB `+filepath.Join(j.dir, "positions.db")+`
    Read_from_Head true
[OUTPUT]
    Name opentelemetry
    Match *
    Host `+host+`
    Port `+port+`
    Logs_uri /v1/logs
    Logs_body_key $log
`)
	return []string{binary, "-c", path}, err
}

func otelcol(binary string, j job) ([]string, error) {
	path, err := j.write("otelcol.yaml", `extensions:
  file_storage: {directory: `+j.dir+`}
receivers:
  filelog:
    include: [`+j.quoted(", ")+`]
    start_at: beginning
    storage: file_storage
    operators:
      - {type: container, format: docker, add_metadata_from_filepath: false}
exporters:
  otlphttp: {endpoint: `+j.endpoint+`}
service:
  extensions: [file_storage]
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [filelog], exporters: [otlphttp]}
`)
	return []string{binary, "--config", path}, err
}

func alloy(binary string, j job) ([]string, error) {
	var targets []string
	for _, f := range j.files {
		targets = append(targets, fmt.Sprintf("{__path__ = %q}", f))
	}
	path, err := j.write("config.alloy", `loki.source.file "bench" {
  targets    = [`+strings.Join(targets, ", ")+`]
  forward_to = [loki.process.bench.receiver]
}
loki.process "bench" {
  forward_to = [loki.write.bench.receiver]
  stage.docker {}
}
loki.write "bench" {
  endpoint { url = "`+j.endpoint+`/loki/api/v1/push" }
}
`)
	return []string{binary, "run", "--server.http.listen-addr=127.0.0.1:0", "--storage.path=" + j.dir, path}, err
}

func promtail(binary string, j job) ([]string, error) {
	var jobs []string
	for _, f := range j.files {
		jobs = append(jobs, fmt.Sprintf("      - {targets: [localhost], labels: {job: bench, __path__: %q}}", f))
	}
	path, err := j.write("promtail.yaml", `server: {http_listen_address: 127.0.0.1, http_listen_port: 0, grpc_listen_port: 0}
positions: {filename: `+filepath.Join(j.dir, "positions.yaml")+`}
clients: [{url: `+j.endpoint+`/loki/api/v1/push}]
scrape_configs:
  - job_name: bench
    pipeline_stages: [{docker: {}}]
    static_configs:
`+strings.Join(jobs, "\n")+"\n")
	return []string{binary, "-config.file=" + path}, err
}

func filebeat(binary string, j job) ([]string, error) {
	path, err := j.write("filebeat.yml", `path.home: `+j.dir+`
filebeat.inputs:
  - type: filestream
    id: bench
    paths: [`+j.quoted(", ")+`]
    parsers: [{container: {format: docker}}]
    prospector.scanner.symlinks: true
output.elasticsearch: {hosts: ["`+j.endpoint+`"], allow_older_versions: true}
setup.ilm.enabled: false
setup.template.enabled: false
`)
	return []string{binary, "-e", "-c", path}, err
}
