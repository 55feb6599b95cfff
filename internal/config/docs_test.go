package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const docsFile = "../../docs/config.md"

// TestDocs holds docs/config.md against the types: the tables of keys between
// its markers are those that the fields, their comments and their defaults
// make.
func TestDocs(t *testing.T) {
	comments := fieldComments(t)
	file, loki := defaultSink(TypeLocalFile), defaultSink(TypeLoki)
	cfg := Default()
	tables := map[string]string{
		"root": table(comments, "", *cfg, nil),
		"log":  table(comments, "", cfg.Log, nil), "container_monitor": table(comments, "", cfg.ContainerMonitor, nil),
		"dead_letters":  table(comments, "", cfg.DeadLetters, nil),
		"file_monitor":  table(comments, "", cfg.FileMonitor, nil),
		"files":         table(comments, "", defaultFileSet(), nil),
		"kafka_source":  table(comments, "", cfg.KafkaSource, nil),
		"dispatcher":    table(comments, "", cfg.Dispatcher, nil),
		"selfwatch":     table(comments, "", cfg.Selfwatch, nil),
		"sinks":         table(comments, "", loki, file),
		"local_file":    table(comments, "", *file.LocalFile, nil),
		"loki":          table(comments, "", *loki.Loki, nil),
		"elasticsearch": table(comments, "", *defaultSink(TypeElasticsearch).Elasticsearch, nil),
		"splunk":        table(comments, "", *defaultSink(TypeSplunk).Splunk, nil),
		"otlp":          table(comments, "", *defaultSink(TypeOTLP).OTLP, nil),
		"kafka":         table(comments, "", *defaultSink(TypeKafka).Kafka, nil),
		"http":          table(comments, "", *defaultSink(TypeHTTP).HTTP, nil),
		"stdout":        table(comments, "", *defaultSink(TypeStdout).Stdout, nil),
		"listeners": table(comments, "server.", cfg.Server, nil) + tableRows(comments, "metrics.", cfg.Metrics, nil) +
			tableRows(comments, "pprof.", cfg.Pprof, nil),
	}
	checkTables(t, docsFile, tables)
}

// checkTables compares the tables between the markers of a document.
func checkTables(t *testing.T, docsFile string, tables map[string]string) {
	t.Helper()
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		begin, end := "<!-- keys: "+name+" -->\n", "<!-- end of keys -->"
		before, rest, found := strings.Cut(docs, begin)
		got, after, ended := strings.Cut(rest, end)
		if !found || !ended {
			t.Errorf("%s has no table %q", docsFile, name)
			continue
		}
		if got != tables[name] && !*update {
			t.Errorf("the table %q of %s differs (run with -update to accept):\n%s", name, docsFile, tables[name])
		}
		docs = before + begin + tables[name] + end + after
	}
	if *update {
		if err := os.WriteFile(docsFile, []byte(docs), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// table returns the table of the keys of a struct that holds its defaults. The
// defaults that are different in other stand beside them.
func table(comments map[string]string, prefix string, defaults, other any) string {
	return "| key | value | default | meaning |\n|---|---|---|---|\n" + tableRows(comments, prefix, defaults, other)
}

func tableRows(comments map[string]string, prefix string, defaults, other any) string {
	var b strings.Builder
	v, o := reflect.ValueOf(defaults), reflect.ValueOf(other)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		value := v.Field(i)
		var otherValue any
		if other != nil {
			otherValue = o.Field(i).Interface()
		}
		switch {
		case options == "inline":
			// The keys of one type have a table of their own.
			if value.Kind() == reflect.Struct {
				b.WriteString(tableRows(comments, prefix, value.Interface(), otherValue))
			}
		case value.Kind() == reflect.Pointer:
			b.WriteString(tableRows(comments, prefix+key+".", reflect.Zero(f.Type.Elem()).Interface(), nil))
		case value.Kind() == reflect.Struct && f.Type != secretType:
			// So has a section of the root.
			if v.Type() != reflect.TypeFor[Config]() {
				b.WriteString(tableRows(comments, prefix+key+".", value.Interface(), nil))
			}
		case f.Type == reflect.TypeFor[[]Sink](), f.Type == reflect.TypeFor[[]FileSet](), f.Type == reflect.TypeFor[[]Pipeline](), f.Type == reflect.TypeFor[[]Stage]():
		case value.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			b.WriteString(tableRows(comments, prefix+key+"[].", reflect.Zero(f.Type.Elem()).Interface(), nil))
		default:
			shown := defaultText(value.Interface())
			if otherValue != nil && !reflect.DeepEqual(otherValue, value.Interface()) {
				shown += "; " + TypeLocalFile + ": " + defaultText(otherValue)
			}
			switch {
			case v.Type() == reflect.TypeFor[Sink]() && key == "type":
				shown = "none: it has to be given"
			case v.Type() == reflect.TypeFor[Sink]():
				shown = "the type"
			}
			fmt.Fprintf(&b, "| `%s%s` | %s | %s | %s |\n", prefix, key, valueText(f, key), shown,
				comments[v.Type().Name()+"."+f.Name])
		}
	}
	return b.String()
}

// valueText says what a key takes.
func valueText(f reflect.StructField, key string) string {
	if list, ok := f.Tag.Lookup("oneof"); ok {
		return "`" + strings.Join(strings.Fields(list), "`, `") + "`"
	}
	if key == "type" {
		return "`" + strings.Join(sinkTypes, "`, `") + "`"
	}
	name := map[reflect.Type]string{
		stringsType:                          "text",
		reflect.TypeFor[bool]():              "`true`, `false`",
		reflect.TypeFor[int]():               "number",
		reflect.TypeFor[ByteSize]():          "size",
		reflect.TypeFor[Duration]():          "duration",
		secretType:                           "secret",
		durationType:                         "duration",
		reflect.TypeFor[[]string]():          "list of texts",
		reflect.TypeFor[map[string]string](): "names and texts",
		reflect.TypeFor[map[string]Secret](): "names and secrets",
	}[f.Type]
	if f.Tag.Get("unit") == "bytes" {
		name = "size"
	}
	least, most := f.Tag.Get("min"), f.Tag.Get("max")
	switch {
	case least == "0" || least == "0s" || least == "":
		return name
	case most == "":
		return name + ", at least " + least
	}
	return name + ", " + least + " to " + most
}

func defaultText(value any) string {
	switch v := value.(type) {
	case string:
		if v == "" {
			return "empty"
		}
	case Secret, []string, map[string]Secret:
		if list, ok := value.([]string); ok && len(list) > 0 {
			return "`" + strings.Join(list, "`, `") + "`"
		}
		return "empty"
	case time.Duration:
		return defaultText(Duration(v))
	case Duration:
		if v == 0 {
			return "`0`"
		}
	case map[string]string:
		if len(v) == 0 {
			return "empty"
		}
		var entries []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			entries = append(entries, "`"+name+": "+v[name]+"`")
		}
		return strings.Join(entries, ", ")
	}
	return fmt.Sprintf("`%v`", value)
}

// fieldComments returns the comments of all fields of the package's structs, as
// one line, by "Type.Field".
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, name := range []string{"config.go", "files.go", "kafka.go", "sinks.go", "pipelines.go", "../pipeline/options.go", "../pipeline/selection.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					if f.Tag == nil {
						continue // no key
					}
					text := strings.Join(strings.Fields(f.Doc.Text()), " ")
					if text == "" && !strings.Contains(f.Tag.Value, "inline") {
						t.Errorf("the field %s.%s has no comment", spec.Name, f.Names[0])
					}
					comments[spec.Name.Name+"."+f.Names[0].Name] = text
				}
			}
			return false
		})
	}
	return comments
}
