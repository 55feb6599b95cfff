package template

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	source = &record.Source{
		Key:            "container/0123456789abcdef0123",
		Host:           "node-1",
		ContainerID:    "0123456789abcdef0123",
		ContainerName:  "web",
		Image:          "example/web:1",
		ComposeProject: "shop",
		ComposeService: "front",
		Labels:         map[string]string{"team": "red"},
	}
	file = &record.Source{
		Key: "file//var/log/pods/a/web/0.log", FilePath: "/var/log/pods/a/web/0.log",
		Namespace: "shop", Pod: "web-1", PodUID: "u-1", ContainerName: "web",
	}
	at = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC).UnixNano()
)

func TestAppend(t *testing.T) {
	constants := map[string]string{"data_dir": "/var/lib/{x}"}
	f := func(text, want string) {
		t.Helper()
		tmpl, err := Compile(text, constants)
		if err != nil {
			t.Errorf("Compile(%q): %v", text, err)
			return
		}
		if got := string(tmpl.Append([]byte(">"), source, record.Stderr, at)); got != ">"+want {
			t.Errorf("%q renders %q, want %q", text, got, ">"+want)
		}
		if tmpl.String() != text {
			t.Errorf("String() = %q, want %q", tmpl.String(), text)
		}
	}
	f("", "")
	f("plain", "plain")
	f("{container_name}", "web")
	f("{container_id}", "0123456789abcdef0123")
	f("{container_short_id}", "0123456789ab")
	f("{image}", "example/web:1")
	f("{compose_project}-{compose_service}", "shop-front")
	f("{stream}", "stderr")
	f("{host}", "node-1")
	f("{date}T{hour}", "2026-02-03T04")
	f("{data_dir}/logs/{container_name}.log", "/var/lib/{x}/logs/web.log")
	f("{{container_name}}", "{container_name}")
	f("{{{container_name}}}", "{web}")
	f("a{{b}}c", "a{b}c")
	f("{source}", "web")
	f("{label.team}{label.other}{file_path}{file_name}{namespace}", "red")
}

func TestAppendFile(t *testing.T) {
	tmpl, err := Compile("{source} {file_path} {file_name} {namespace}/{pod}/{pod_uid}/{container_name}", nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "var/log/pods/a/web/0.log /var/log/pods/a/web/0.log 0.log shop/web-1/u-1/web"
	if got := string(tmpl.Append(nil, file, record.Stdout, 0)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHourHasTwoDigits(t *testing.T) {
	tmpl, err := Compile("{hour}", nil)
	if err != nil {
		t.Fatal(err)
	}
	for h, want := range map[int]string{0: "00", 9: "09", 10: "10", 23: "23"} {
		nano := time.Date(2026, 1, 1, h, 59, 59, 0, time.UTC).UnixNano()
		if got := string(tmpl.Append(nil, source, record.Stdout, nano)); got != want {
			t.Errorf("hour %d renders %q, want %q", h, got, want)
		}
	}
}

func TestAppendWithoutValues(t *testing.T) {
	tmpl, err := Compile("[{compose_project}{container_short_id}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tmpl.Append(nil, &record.Source{}, record.Stdout, 0)); got != "[]" {
		t.Errorf("got %q, want %q", got, "[]")
	}
}

func TestAppendEscaped(t *testing.T) {
	tmpl, err := Compile("{dir}/{image}/{stream}-{date}", map[string]string{"dir": "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	escape := func(dst []byte, value string) []byte {
		return append(dst, strings.ToUpper(strings.ReplaceAll(value, "/", "_"))...)
	}
	got := string(tmpl.AppendEscaped(nil, source, record.Stdout, at, escape))
	if want := "a/b/EXAMPLE_WEB:1/stdout-2026-02-03"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompileErrors(t *testing.T) {
	f := func(text string, constants map[string]string, want string) {
		t.Helper()
		_, err := Compile(text, constants)
		if err == nil || err.Error() != want {
			t.Errorf("Compile(%q) = %v, want %s", text, err, want)
		}
	}
	f("{contaner_name}", nil,
		`compile template "{contaner_name}": unknown placeholder {contaner_name}; did you mean {container_name}?`)
	f("{service}", nil,
		`compile template "{service}": unknown placeholder {service}; did you mean {compose_service}?`)
	f("{datadir}/x", map[string]string{"data_dir": "/d"},
		`compile template "{datadir}/x": unknown placeholder {datadir}; did you mean {data_dir}?`)
	f("{shape}", nil, `compile template "{shape}": unknown placeholder {shape}; valid are {`+strings.Join(Placeholders(), "}, {")+`}`)
	f("a{host", nil, `compile template "a{host": '{' at byte 2 is not closed (write '{{' for a brace)`)
	f("{host{image}", nil, `compile template "{host{image}": '{' at byte 1 is not closed (write '{{' for a brace)`)
	f("host}", nil, `compile template "host}": '}' at byte 5 closes nothing (write '}}' for a brace)`)
	f("x", map[string]string{"host": "h"}, `compile template "x": the constant {host} hides a placeholder`)
}

func TestUses(t *testing.T) {
	f := func(text string, stream, time bool, names ...string) {
		t.Helper()
		tmpl, err := Compile(text, map[string]string{"dir": "d"})
		if err != nil {
			t.Fatal(err)
		}
		if tmpl.UsesStream() != stream || tmpl.UsesTime() != time {
			t.Errorf("%q: UsesStream %v, UsesTime %v; want %v, %v",
				text, tmpl.UsesStream(), tmpl.UsesTime(), stream, time)
		}
		if got := tmpl.Names(); !slices.Equal(got, names) {
			t.Errorf("%q: Names %q, want %q", text, got, names)
		}
	}
	f("x", false, false)
	f("{dir}", false, false)
	f("{host}/{image}/{host}", false, false, "host", "image")
	f("{stream}", true, false, "stream")
	f("{date}", false, true, "date")
	f("{stream}{hour}", true, true, "stream", "hour")
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "{host}": "", "plain": "plain", "{dir}/a{{b{host}c": "/d/a{b",
	} {
		tmpl, err := Compile(text, map[string]string{"dir": "/d"})
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.Prefix(); got != want {
			t.Errorf("%q: Prefix %q, want %q", text, got, want)
		}
	}
}

func TestPlaceholdersCompile(t *testing.T) {
	for _, name := range Placeholders() {
		if _, err := Compile("{"+name+"}", nil); err != nil {
			t.Error(err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	tmpl, err := Compile("{container_name}/{stream}/{date}-{hour}", nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = tmpl.Append(buf[:0], source, record.Stdout, at) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzCompile(f *testing.F) {
	for _, text := range []string{"", "{", "}", "{{}}", "{host}", "{{{host}}}", "{host", "{x}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := Compile(text, nil)
		if err != nil {
			return
		}
		// A text with every brace doubled renders as itself.
		doubled, err := Compile(strings.NewReplacer("{", "{{", "}", "}}").Replace(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(doubled.Append(nil, source, record.Stdout, at)); got != text {
			t.Fatalf("doubled braces of %q render %q", text, got)
		}
		tmpl.Append(nil, source, record.Stdout, at)
	})
}
