package cli

import (
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/fakeengine"
)

// scene is a real agent that captures the containers of a scripted engine.
type scene struct {
	agent      *agent.Agent
	engine     *fakeengine.Engine
	containers map[string]*fakeengine.Container
	config     string
}

// newScene starts an agent with three containers: web and busy, which run, and
// old, which has stopped.
func newScene(t *testing.T, config string) *scene {
	t.Helper()
	s := &scene{engine: fakeengine.New(t, fakeengine.Options{}), containers: map[string]*fakeengine.Container{}}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s.containers["web"] = s.engine.Add(fakeengine.Config{Name: "web", Image: "nginx:1", ID: strings.Repeat("a", 64)})
	s.containers["busy"] = s.engine.Add(fakeengine.Config{Name: "busy", Image: "worker:3", ID: strings.Repeat("c", 64)})
	s.containers["old"] = s.engine.Add(fakeengine.Config{
		Name: "old", Image: "batch:2", ID: strings.Repeat("b", 64), State: fakeengine.Exited,
		Log: []fakeengine.Entry{fakeengine.Line(record.Stdout, at, "one"), fakeengine.Line(record.Stderr, at.Add(1), "two")},
	})
	s.config = config + "container_monitor: {docker_host: '" + s.engine.Host() + "'}\n"
	s.agent = agent.Start(t, agent.Options{Config: s.config})
	s.agent.WaitReady(time.Minute)
	return s
}

// TestAgentScripts runs the scripts of commands that talk to an agent, against
// one.
func TestAgentScripts(t *testing.T) {
	s := newScene(t, `pipelines:
  - name: objects
    select: {names: [busy]}
    stages:
      - {type: filter, drop: line startsWith "noise"}
      - {type: regex, if: line startsWith "event=", pattern: '^event=(?P<event>\w+) n=(?P<n>\d+) '}
      - {type: level, if: line startsWith "event="}
      - {type: redact, presets: [email], if: line startsWith "event="}
`)
	destination, err := lokitest.Start(lokitest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destination.Close)
	others := startDestinations(t)
	cmds := maps.Clone(scriptCommands)
	cmds["nothing"] = others.nothing
	// say CONTAINER STREAM TEXT N
	cmds["say"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 4 || s.containers[args[0]] == nil {
			ts.Fatalf("usage: say CONTAINER STREAM TEXT N")
		}
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		s.say(args[0], map[string]record.Stream{"stdout": record.Stdout, "stderr": record.Stderr}[args[1]], args[2], n)
	}
	cmds["screen"] = screenShows
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/agent",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                cmds,
		Setup: func(env *testscript.Env) error {
			env.Setenv("API", s.agent.API)
			env.Setenv("DATA_DIR", s.agent.DataDir)
			env.Setenv("ENGINE", s.engine.Host())
			env.Setenv("LOKI", destination.URL())
			env.Setenv("DESTINATION", others.url)
			env.Setenv("BROKER", others.broker)
			env.Setenv("TERM", "xterm")
			env.Defer(func() {
				// No error is worth telling: most scripts start no tmux.
				exec.Command("tmux", "-S", env.WorkDir+"/tmux", "kill-server").Run()
			})
			return nil
		},
	})
}

// screenShows waits until the script's terminal, in tmux, matches a pattern:
// screen PATTERN. With ! it holds that the terminal does not match now.
func screenShows(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] screen PATTERN")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		shown, err := exec.Command("tmux", "-S", ts.MkAbs("tmux"), "capture-pane", "-p").CombinedOutput()
		if err != nil {
			ts.Fatalf("%v: %s", err, shown)
		}
		switch {
		case pattern.Match(shown) != neg:
			return
		case neg || time.Now().After(deadline):
			ts.Fatalf("the screen is\n%s", shown)
		}
	}
}

// say appends n numbered lines to a container's log.
func (s *scene) say(container string, stream record.Stream, text string, n int) {
	for i := range n {
		s.containers[container].Append(fakeengine.Line(stream, time.Now(), fmt.Sprintf("%s %d", text, i)))
	}
}
