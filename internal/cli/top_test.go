package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"log_capturer/internal/client"
	"log_capturer/internal/server"
)

// twoSamples are two seconds of an agent with four containers.
func twoSamples() (first, second sample) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	first = sample{
		at: at,
		status: server.Status{
			Version: "v1.2.3", Host: "h1", PID: 7, UptimeSeconds: 3661,
			Sinks: []server.Sink{
				{Name: "files", Type: "local_file", Acknowledged: 1000, QueueCapacityBytes: 16 << 20},
				{Name: "main", Type: "loki", Acknowledged: 500, InMemory: 10, Spooled: 20000, QueueBytes: 4 << 20, QueueCapacityBytes: 16 << 20},
			},
			Process: server.Process{Goroutines: 40, OpenFDs: 20, ResidentBytes: 30 << 20, CPUSeconds: 5},
		},
		containers: []server.Container{
			{ID: "1", Name: "api", Image: "api:1", State: server.Reading, Transport: "api", Lease: true, Lines: 100, Bytes: 1 << 20},
			{ID: "2", Name: "web", Image: "nginx", State: server.Reading, Transport: "file", Lines: 5, Bytes: 500},
			{ID: "3", Name: "old", Image: "batch", State: server.Stopped, Transport: "api", Lines: 70000, Bytes: 9 << 30},
			{ID: "4", Name: "bad\x1b[2J", Image: "x", State: server.Error, Reason: "open log: 500", LagSeconds: 75},
		},
		health: client.Health{Status: "healthy"},
	}
	second = first
	second.at = at.Add(2 * time.Second)
	second.status.UptimeSeconds += 2
	second.status.Process.CPUSeconds = 5.5
	second.status.Sinks = slices.Clone(first.status.Sinks)
	second.status.Sinks[0].Acknowledged = 31000
	second.status.Sinks[1].FailedAttempts = 3
	second.containers = slices.Clone(first.containers)
	second.containers[0].Lines, second.containers[0].Bytes = 110, 1<<20+2048
	second.containers[1].Lines, second.containers[1].Bytes = 30005, 3000500
	second.health = client.Health{Status: "degraded", Components: []client.Component{
		{Name: "container_monitor", Status: "healthy"}, {Name: "sink/main", Status: "degraded", Reason: "failing for 2s"},
	}}
	return first, second
}

func viewOf(width, height int) *topView {
	first, second := twoSamples()
	v := newTopView(first)
	v.add(second)
	v.width, v.height = width, height
	return v
}

func TestTopPicture(t *testing.T) {
	v := viewOf(140, 20)
	var got strings.Builder
	for _, line := range v.lines() {
		got.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	const want = `log_capturer v1.2.3 on h1, up 1h1m: degraded
goroutines 40   open files 20   memory 30.0MiB   cpu 25.0%
containers 4: 2 reading, 1 stopped, 1 error   leases 1   15.0k lines/s   1.4MiB/s
  sink/main is degraded: failing for 2s

SINK                           TYPE           RECORDS/S   WAITING      QUEUE   FULL  SPOOLED   RECORDS  FAILED  DEAD
files                          local_file         15.0k         0         0B     0%        0     31.0k       0     0
main                           loki                   0        10     4.0MiB    25%    20.0k       500       3     0

NAME                           STATE      VIA  LEASE      LAG   LINES/S    BYTES/S     LINES  GAPS  REASON
web                            reading    file -            -     15.0k     1.4MiB     30.0k     0
api                            reading    api  yes          -         5     1.0KiB       110     0
bad\x1b[2J                     error      -    -        1m15s         0         0B         0     0  open log: 500
old                            stopped    api  -            -         0         0B     70.0k     0





by lines/s | sort: n s g l b t, r  filter: /  scroll: j k  still: space  quit: q
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
}

// names returns the containers in the order of the picture.
func names(v *topView) string {
	var list []string
	for _, r := range v.rows() {
		list = append(list, r.Name[:3])
	}
	return strings.Join(list, " ")
}

// press types keys.
func press(v *topView, keys ...key) (goesOn bool) {
	goesOn = true
	for _, k := range keys {
		goesOn = v.press(k)
	}
	return goesOn
}

func typed(text string) (keys []key) {
	for _, r := range text {
		keys = append(keys, key(r))
	}
	return keys
}

func TestTopKeys(t *testing.T) {
	v := viewOf(140, 20)
	f := func(keys, want string) {
		t.Helper()
		if !press(v, typed(keys)...) {
			t.Errorf("%q ends it", keys)
		}
		if got := names(v); got != want {
			t.Errorf("after %q: %s, want %s", keys, got, want)
		}
	}
	f("", "web api bad old")
	f("n", "api bad old web")
	f("r", "web old bad api")
	f("rs", "api web old bad")
	f("g", "bad api old web")
	f("b", "web api bad old")
	f("t", "old web api bad")
	f("/Ngi", "web")         // the image; the case does not matter
	f("\x7f\x7f", "web api") // still typing: n, as in reading
	f("\x7f\x7f\x7fq", "")   // a key that is typed is no command
	f("\x7f\rn", "api bad old web")
	f("/stopped\r", "old")
	if press(v, keyEscape); names(v) != "api bad old web" {
		t.Errorf("Esc leaves %s", names(v))
	}
	if press(v, typed("/we")...); names(v) != "web" {
		t.Errorf("got %s", names(v))
	}
	if press(v, keyEscape); names(v) != "api bad old web" || v.typing {
		t.Errorf("Esc while typing leaves %s", names(v))
	}
	if press(v, 'q') || press(v, keyInterrupt) {
		t.Error("q and Ctrl-C go on")
	}
	if press(v, '/', keyInterrupt) {
		t.Error("Ctrl-C goes on while typing")
	}
}

// The picture never has more lines or columns than the screen, and scrolling
// shows every container.
func TestTopFits(t *testing.T) {
	first, second := twoSamples()
	for i := range 100 {
		second.containers = append(second.containers, server.Container{ID: fmt.Sprintf("x%d", i), Name: fmt.Sprintf("many-%02d", i), State: server.Idle})
	}
	v := newTopView(first)
	v.add(second)
	press(v, 'n')
	for _, width := range []int{0, 1, 2, 10, 40, 80, 120, 150} {
		for height := 1; height < 40; height++ {
			v.width, v.height = width, height
			lines := v.lines()
			if len(lines) != height {
				t.Fatalf("%dx%d: %d lines", width, height, len(lines))
			}
			for _, line := range lines {
				if utf8.RuneCountInString(line) > width {
					t.Fatalf("%dx%d: %q", width, height, line)
				}
			}
		}
	}
	v.width, v.height = 120, 30
	seen := map[string]bool{}
	for range 20 {
		for _, line := range v.lines() {
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "many-") {
				seen[name] = true
			}
		}
		press(v, keyPageDown)
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 containers can be seen", len(seen))
	}
	if press(v, keyHome); !strings.HasPrefix(v.lines()[len(v.head())+1], "api ") {
		t.Error("Home does not show the first")
	}
	if press(v, keyEnd); !strings.HasPrefix(v.lines()[28], "web ") {
		t.Error("End does not show the last")
	}
}

// An agent that went away is told, and the rates of one that was started anew
// begin anew.
func TestTopAfterARestart(t *testing.T) {
	v := viewOf(140, 20)
	v.add(sample{err: errors.New("no agent answers")})
	if got := v.lines()[0]; got != "for 0ms: no agent answers" {
		t.Errorf("got %q", got)
	}
	_, again := twoSamples()
	again.at = again.at.Add(time.Minute)
	again.status.PID++
	v.add(again)
	if got := v.lines()[2]; !strings.Contains(got, "   0 lines/s   0B/s") {
		t.Errorf("got %q", got)
	}
	press(v, ' ')
	v.add(sample{err: errors.New("not seen")})
	if got := v.lines()[0]; !strings.HasPrefix(got, "log_capturer v1.2.3") {
		t.Errorf("standing still: %q", got)
	}
}

func TestDecodeKeys(t *testing.T) {
	f := func(in string, want ...key) {
		t.Helper()
		if got := decodeKeys([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	f("q", 'q')
	f("é/", 'é', '/')
	f("\x1b[A\x1bOB\x1b[5~\x1b[6~", keyUp, keyDown, keyPageUp, keyPageDown)
	f("\x1b", keyEscape)
	f("\x1bx", keyEscape, 'x')
	f("\x1b[1;5Cq", 'q')
	f("\x1b[", []key{}...)
	f("\n\b\r\x03", keyEnter, keyBackspace, keyEnter, keyInterrupt)
	f("\xff")
}
