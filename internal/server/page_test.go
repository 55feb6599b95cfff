package server

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/health"
)

func getPage(t *testing.T, opts Options) (http.Header, string) {
	t.Helper()
	opts.API = anyPort
	s := start(t, opts)
	status, header, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	return header, body
}

func TestPageShowsTheAgent(t *testing.T) {
	_, body := getPage(t, Options{
		Reporters: []health.Reporter{reporter{
			{Name: "container_monitor"},
			{Name: "sink/loki", Status: health.Degraded, Reason: "the destination answers 503"},
		}},
		Status: func() Status {
			return Status{
				Version: "1.2.3", Commit: "abcdef", Host: "h1", DataDir: "/data", StartedAt: time.Now().Add(-26 * time.Hour),
				Sinks: []Sink{{Name: "files", Type: "local_file"}},
			}
		},
		Containers: everyState, Files: everyFile,
	})
	for _, want := range []string{
		`<title>log_capturer: degraded</title>`,
		`log_capturer on h1: <span class="degraded">degraded</span>`,
		`1.2.3 (abcdef)`,
		`up 1 d 2 h`,
		`files (local_file)`,
		`<tr><td>container_monitor</td><td class="healthy">healthy</td><td></td></tr>`,
		`<tr><td>sink/loki</td><td class="degraded">degraded</td><td>the destination answers 503</td></tr>`,
		`7 in all: 1 reading, 1 waiting, 1 idle, 1 stopped, 1 excluded, 1 unreadable, 1 in error.`,
		`<td>web</td><td>nginx:1</td><td><span class="reading">reading</span></td><td>api</td><td>held</td>`,
		`<td class="number">250 ms</td><td class="number">12</td><td class="number">3.4 KiB</td>`,
		`<span class="waiting">waiting</span><br><span class="note">all 50 streams are in use</span>`,
		`4 in all: 1 reading, 1 idle, 1 gone, 1 in error.`,
		`<td>/var/log/web.log</td><td><span class="reading">reading</span></td><td class="number">2.0 s</td><td class="number">12</td>`,
		`<meta http-equiv="refresh" content="5">`,
	} {
		if !strings.Contains(strings.ReplaceAll(body, ` title="7777"`, ""), want) {
			t.Errorf("no %s in the page", want)
		}
	}
}

func TestPageShowsAnEmptyAgent(t *testing.T) {
	_, body := getPage(t, Options{})
	for _, want := range []string{"No component reports.", "No containers are known.", "<dd>none</dd>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

// What a container calls itself is text, wherever the page shows it.
func TestPageEscapesHostileNames(t *testing.T) {
	const hostile = `</td><script>alert(1)</script><img src=x onerror="alert(2)">'"&{{.Status}}`
	_, body := getPage(t, Options{
		Reporters: []health.Reporter{reporter{{Name: hostile, Status: health.Degraded, Reason: hostile}}},
		Status: func() Status {
			return Status{Version: hostile, Commit: hostile, Host: hostile, DataDir: hostile, Sinks: []Sink{{Name: hostile, Type: hostile}}}
		},
		Containers: func() []Container {
			return []Container{{ID: hostile, Name: hostile, Image: hostile, State: State(hostile), Transport: hostile, Reason: hostile}}
		},
	})
	// Every element of the page is one that an honest page has.
	allowed := map[string]bool{}
	for name := range strings.FieldsSeq("html head meta title style body h1 h2 span dl dt dd table thead tbody tr th td p br a") {
		allowed[name] = true
	}
	decoder := xml.NewDecoder(strings.NewReader(body))
	decoder.Strict = false
	decoder.AutoClose = xml.HTMLAutoClose
	decoder.Entity = xml.HTMLEntity
	shown := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page does not parse: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if !allowed[token.Name.Local] {
				t.Errorf("the page has an element %q", token.Name.Local)
			}
			for _, attribute := range token.Attr {
				if strings.HasPrefix(strings.ToLower(attribute.Name.Local), "on") {
					t.Errorf("the page has an attribute %q", attribute.Name.Local)
				}
			}
		case xml.CharData:
			shown += strings.Count(string(token), hostile)
		}
	}
	// Version, commit, data, sink and its type, host; component and reason;
	// name, image, state, transport and reason.
	if want := 13; shown != want {
		t.Errorf("the hostile text is shown %d times, want %d", shown, want)
	}
}

func TestPageMayDoNothingButShow(t *testing.T) {
	header, body := getPage(t, Options{})
	for name, want := range map[string]string{
		"Content-Security-Policy": pagePolicy,
		"X-Content-Type-Options":  "nosniff",
		"X-Frame-Options":         "DENY",
		"Referrer-Policy":         "no-referrer",
		"Cache-Control":           "no-store",
		"Content-Type":            "text/html; charset=utf-8",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// The style stands in the page as it was hashed.
	if !strings.Contains(body, "<style>"+pageCSS+"</style>") {
		t.Error("the page's style is not the one that its policy allows")
	}
	for _, forbidden := range []string{"<script", "http://", "https://", "style="} {
		if strings.Contains(body, forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
}

func TestUnits(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(duration(0), "0 ms")
	f(duration(0.25), "250 ms")
	f(duration(59.94), "59.9 s")
	f(duration(61), "1 m 1 s")
	f(duration(3*3600+120), "3 h 2 m")
	f(duration(50*3600), "2 d 2 h")
	f(byteCount(0), "0 B")
	f(byteCount(1023), "1023 B")
	f(byteCount(1536), "1.5 KiB")
	f(byteCount(3<<20), "3.0 MiB")
	f(byteCount(1<<60), "1048576.0 TiB")
	now := time.Unix(1000, 0)
	f(ago(now, time.Time{}), "never")
	f(ago(now, now.Add(-time.Minute)), "1 m 0 s ago")
	f(ago(now, now.Add(time.Minute)), "0 ms ago")
	f(shortID("0123456789abcdef"), "0123456789ab")
	f(shortID("01"), "01")
}
