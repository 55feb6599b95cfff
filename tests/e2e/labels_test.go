package e2e

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/script"
)

// What a container says of itself, by its labels and its environment, is done,
// whichever way it is read.
func TestContainersSayHowTheyAreTreated(t *testing.T) {
	for _, transport := range []string{"auto", "api"} {
		t.Run(transport, func(t *testing.T) {
			engine := enginetest.New(t)
			id := label(t)
			type treated struct {
				labels        map[string]string
				env           []string
				first, second []string
				c             *enginetest.Container
			}
			lines := []string{"[1] a", "b", "[2] drop", "c"}
			joined := []string{"[1] a\nb", "[2] drop\nc"}
			cases := []*treated{
				{first: lines, second: lines},
				{labels: map[string]string{"log_capturer.enable": "false"}},
				{labels: map[string]string{"co.elastic.logs/enabled": "false"}},
				{labels: map[string]string{"LOGSPOUT": "ignore"}},
				{env: []string{"LOGSPOUT=ignore"}},
				{env: []string{"LOGSPOUT=ignore"}, labels: map[string]string{"log_capturer.enable": "true"}, first: lines, second: lines},
				{labels: map[string]string{"log_capturer.pipeline": "thin"}, first: []string{"[1] a", "b", "c"}, second: []string{"[1] a", "b", "c"}},
				{labels: map[string]string{"log_capturer.multiline": `start:^\[`}, first: joined, second: joined},
				{labels: map[string]string{"co.elastic.logs/multiline.pattern": `^\[`, "co.elastic.logs/multiline.match": "before"}, first: joined, second: joined},
				{labels: map[string]string{"log_capturer.sinks": "second"}, second: lines},
				{labels: map[string]string{"log_capturer.multiline": `start:^\[`, "log_capturer.pipeline": "thin", "log_capturer.sinks": "first"}, first: joined[:1]},
			}
			if transport == "api" {
				// Labels come to the same whichever way; the environment does not.
				cases = slices.DeleteFunc(cases, func(s *treated) bool { return s.env == nil })
			}
			run := func(some []*treated) {
				for _, s := range some {
					if s.labels == nil {
						s.labels = map[string]string{}
					}
					s.labels[labelKey] = id
					s.c = engine.Run(t, enginetest.Options{
						Labels: s.labels, Env: s.env, Script: script.Script{script.Out("[1] a\nb\n"), script.Out("[2] drop\nc\n")},
					})
				}
			}
			// Half of them are there before the agent, and half come while it runs.
			run(cases[:len(cases)/2])
			a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: "+transport) + `pipelines:
  - name: thin
    stages: [{type: filter, drop: line contains "drop"}]
sinks:
  - {type: local_file, name: first, path: "{data_dir}/first/{container_id}.log"}
  - {type: local_file, name: second, path: "{data_dir}/second/{container_id}.log"}
`})
			run(cases[len(cases)/2:])
			var first, second, excluded uint64
			for _, s := range cases {
				_, err := s.c.Wait(time.Minute)
				enginetest.Must(t, err)
				if first, second = first+uint64(len(s.first)), second+uint64(len(s.second)); len(s.first)+len(s.second) > 0 {
					waitRead(t, a, s.c)
				} else {
					excluded++
				}
			}
			enginetest.Eventually(t, time.Minute, "the others are left out", func() bool {
				return a.Metric(t, "log_capturer_containers", "state", "excluded") >= float64(excluded)
			})
			waitDrained(t, a)
			enginetest.Eventually(t, time.Minute, "what was held is delivered", func() bool {
				return acknowledged(t, a, "first") >= first && acknowledged(t, a, "second") >= second
			})
			got := map[string][]string{}
			for _, sink := range []string{"first", "second"} {
				readFiles(t, filepath.Join(a.DataDir, sink), func(l *fileLine) {
					got[sink+l.ContainerID] = append(got[sink+l.ContainerID], string(l.bytes()))
				})
			}
			for _, s := range cases {
				first, second := got["first"+s.c.ID], got["second"+s.c.ID]
				if !slices.Equal(first, s.first) || !slices.Equal(second, s.second) {
					t.Errorf("%v %q: got %q and %q, want %q and %q", s.labels, s.env, first, second, s.first, s.second)
				}
			}
			checkAccounts(t, a)
		})
	}
}
