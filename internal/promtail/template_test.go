package promtail

import "testing"

func TestTemplateExpression(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p := newPipeline(&converter{labelNames: map[string]bool{}}, containers)
		got, err := p.templateExpression(text, "v")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: got\n%s, want\n%s", text, got, want)
		}
	}
	const a = `string(fields.a ?? "")`
	f(`x`, `"x"`)
	f(``, `""`)
	f(`{{ .Value }}: {{ .Entry }}`, `string(fields.v ?? "") + ": " + line`)
	f(`{{ .a | ToUpper | TrimSpace }}`, `trim(upper(`+a+`))`)
	f(`{{ Replace .a "x" "y" -1 }}{{ Replace .a "x" "y" 2 }}`, `replace(`+a+`, "x", "y") + replace(`+a+`, "x", "y", 2)`)
	f(`{{ TrimPrefix .a "/" }}{{ trimPrefix "/" .a }}`, `trimPrefix(`+a+`, "/") + trimPrefix(`+a+`, "/")`)
	f(`{{ if .a }}y{{ else }}n{{ end }}`, `((`+a+`) != "" ? ("y") : ("n"))`)
	f(`{{ if and (eq .a "x" "y") (not .b) }}1{{ end }}`,
		`(((((`+a+`) == ("x") or (`+a+`) == ("y"))) and (not ((string(fields.b ?? "")) != ""))) ? ("1") : (""))`)
	f(`{{ or .a "none" }}`, `((`+a+`) != "" ? `+a+` : "none")`)
	f(`{{ .a | default "x" }}`, `(`+a+` != "" ? `+a+` : "x")`)
	f(`{{ if gt (len .a) 3 }}long{{ end }}`, `(((len(`+a+`)) > (3)) ? ("long") : (""))`)
	f(`{{- $x := .a -}} {{ $x }}`, a)
	f(`{{ range .a }}{{ end }}`, `error: of templates only values and {{ if }} are understood, not "{{range .a}}{{end}}"`)
	f(`{{ Hash "salt" .a }}`, `error: the function Hash of templates is not understood`)
	f(`{{ ToLower }}`, `error: the function ToLower of templates is not understood as it is used`)
	f(`{{ eq .a 1 }}`, `error: the function eq of templates is not understood as it is used`)
	f(`{{ .a.b }}`, `error: ".a.b" in a template is not understood`)
	f(`{{ $x = .a }}`, `error: a template sets a variable anew, which is not understood`)
	f(`{{ if }}`, `error: template:1: missing value for if`)
}

// A variable that is set in a branch is none behind it.
func TestTemplateVariables(t *testing.T) {
	p := newPipeline(&converter{labelNames: map[string]bool{}}, containers)
	got, err := p.templateExpression(`{{ $x := "1" }}{{ if .a }}{{ $x := "2" }}{{ $x }}{{ end }}{{ $x }}`, "v")
	if want := `((string(fields.a ?? "")) != "" ? ("2") : ("")) + "1"`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestKeepVariables(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := escape(keepVariables(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	f("a $1 ${1} $$ $${x}", "a $1 $${1} $$$$ $$$${x}")
	f("${A} $1 ${1} $$ $${x}", "${A} $1 $${1} $ $${x}")
	f("${A:-b} ${C:=d} ${E=f} ${G-}", "${A:-b} ${C:-d} ${E:-f} ${G:-}")
	f("end$", "end$")
	f("${a.b}", "$${a.b}")
}

func TestContainerLabel(t *testing.T) {
	f := func(key, want string, wantGuessed bool) {
		t.Helper()
		if got, guessed := containerLabel(key); got != want || guessed != wantGuessed {
			t.Errorf("%s: got %s, %t, want %s, %t", key, got, guessed, want, wantGuessed)
		}
	}
	f("app", `(get(container_labels, "app") ?? "")`, false)
	f("org_opencontainers_image_title", `(get(container_labels, "org.opencontainers.image.title") ?? "")`, false)
	f("a_b", `(get(container_labels, "a.b") ?? get(container_labels, "a_b") ?? get(container_labels, "a-b") ?? "")`, false)
	f("a_b_c_d", `(get(container_labels, "a.b.c.d") ?? get(container_labels, "a_b_c_d") ?? get(container_labels, "a-b-c-d") ?? "")`, true)
}

func TestBraces(t *testing.T) {
	for pattern, want := range map[string]int{"/a": 1, "/{a,b}/{c,d,e}": 6, "/{a": 1, dollar + "{A}/{b,c}": 2} {
		if got := braces(pattern); len(got) != want {
			t.Errorf("%s: got %q, want %d", pattern, got, want)
		}
	}
}
