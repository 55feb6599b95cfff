package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"log_capturer/internal/record"
)

// variables are what expressions know of a record, each with a value of its
// type. docs/pipelines.md describes them.
func variables() map[string]any {
	return map[string]any{
		"line":             "",
		"time":             time.Time{},
		"captured":         time.Time{},
		"stream":           "",
		"level":            "",
		"fields":           map[string]any{},
		"labels":           map[string]any{},
		"container":        "",
		"container_id":     "",
		"image":            "",
		"compose_project":  "",
		"compose_service":  "",
		"host":             "",
		"file":             "",
		"namespace":        "",
		"pod":              "",
		"container_labels": map[string]string{},
	}
}

// maxExpressionNodes bounds the size of an expression.
const maxExpressionNodes = 1000

// expression is a compiled expression. It is immutable.
type expression struct {
	text    string
	program *vm.Program
	// Which of the variables that cost something it uses.
	line, time, captured, fields, labels bool
	// direct is the attribute that the expression is, where it is nothing else:
	// its value is then taken as it is, with all digits of a number.
	direct string
}

// condition compiles an expression that is true or false. The key is for the
// error.
func condition(key, text string) (*expression, error) {
	return compileExpression(key, text, expr.AsBool())
}

// value compiles an expression of any type.
func value(key, text string) (*expression, error) { return compileExpression(key, text, expr.AsAny()) }

// number compiles an expression that gives a number.
func number(key, text string) (*expression, error) {
	return compileExpression(key, text, expr.AsFloat64())
}

func compileExpression(key, text string, want expr.Option) (*expression, error) {
	if strings.TrimSpace(text) == "" {
		return nil, wrong(key, "is empty; give an expression")
	}
	program, err := expr.Compile(text, expr.Env(variables()), want, expr.MaxNodes(maxExpressionNodes))
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			return nil, wrong(key, "%s, at character %d of %q", e.Message, e.Column+1, shorten(text))
		}
		return nil, wrong(key, "%s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	e := &expression{text: text, program: program}
	root := program.Node()
	ast.Walk(&root, e)
	if member, ok := root.(*ast.MemberNode); ok {
		from, fromFields := member.Node.(*ast.IdentifierNode)
		if name, ok := member.Property.(*ast.StringNode); ok && fromFields && from.Value == "fields" {
			e.direct = name.Value
		}
	}
	return e, nil
}

// value evaluates an expression of any type.
func (x *expression) value(env *environment, e *Event) (Value, error) {
	if x.direct != "" {
		v, ok := e.Get(x.direct)
		if !ok {
			v = Value{Null, "null"}
		}
		return v, nil
	}
	out, err := x.run(env, e)
	if err != nil {
		return Value{}, err
	}
	return valueOf(out)
}

// Visit notes which variables the expression uses.
func (x *expression) Visit(node *ast.Node) {
	name, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	switch name.Value {
	case "line":
		x.line = true
	case "time":
		x.time = true
	case "captured":
		x.captured = true
	case "fields":
		x.fields = true
	case "labels":
		x.labels = true
	case "$env":
		x.line, x.time, x.captured, x.fields, x.labels = true, true, true, true, true
	}
}

// environment is what the expressions of one run see. It is filled for each
// evaluation, and belongs to the run.
type environment struct {
	vm     vm.VM
	values map[string]any
	fields map[string]any
	labels map[string]any
	line   *textCell
}

// textCell is a text that is boxed once and changed often, so that an
// expression can look at a line without an allocation. What it holds is valid
// until the next evaluation: results that may be part of it are copied before.
type textCell struct {
	text  string
	boxed any
}

func newTextCell() *textCell {
	c := &textCell{boxed: ""}
	// An interface is a pair of words: its type, and a pointer to the value.
	// The pointer is made to point at the cell.
	(*[2]unsafe.Pointer)(unsafe.Pointer(&c.boxed))[1] = unsafe.Pointer(&c.text)
	return c
}

func (c *textCell) set(line []byte) { c.text = unsafe.String(unsafe.SliceData(line), len(line)) }

// Boxed once, since boxing a text allocates.
var (
	boxedLevels  [len(levelNames)]any
	boxedStreams [record.NumStreams]any
)

func init() {
	for i, name := range levelNames {
		boxedLevels[i] = name
	}
	for i := range boxedStreams {
		boxedStreams[i] = record.Stream(i).String()
	}
}

func newEnvironment(source *record.Source) *environment {
	env := &environment{values: variables(), fields: map[string]any{}, labels: map[string]any{}, line: newTextCell()}
	env.values["container"] = source.ContainerName
	env.values["container_id"] = source.ContainerID
	env.values["image"] = source.Image
	env.values["compose_project"] = source.ComposeProject
	env.values["compose_service"] = source.ComposeService
	env.values["host"] = source.Host
	env.values["file"] = source.FilePath
	env.values["namespace"], env.values["pod"] = source.Namespace, source.Pod
	if source.Labels != nil {
		env.values["container_labels"] = source.Labels
	}
	env.values["fields"], env.values["labels"] = env.fields, env.labels
	env.values["line"] = env.line.boxed
	return env
}

// run evaluates x for an event. The result is valid until the next evaluation
// in env, and its texts may be part of the line: it is the caller's to copy.
func (x *expression) run(env *environment, e *Event) (any, error) {
	if x.line {
		env.line.set(e.Line)
	}
	if x.time {
		env.values["time"] = time.Unix(0, e.Time).UTC()
	}
	if x.captured {
		env.values["captured"] = time.Unix(0, e.Captured).UTC()
	}
	env.values["level"] = boxedLevels[e.Level]
	env.values["stream"] = boxedStreams[e.Stream]
	if x.fields {
		clear(env.fields)
		for i := range e.Fields {
			env.fields[e.Fields[i].Name] = e.Fields[i].Value.any()
		}
	}
	if x.labels {
		clear(env.labels)
		for _, l := range e.Labels {
			env.labels[l.Name] = l.Value
		}
	}
	out, err := env.vm.Run(x.program, env.values)
	if err != nil {
		message := err.Error()
		if f, ok := errors.AsType[*file.Error](err); ok {
			message = f.Message
		}
		return nil, fail("expression", "%s: %s", shorten(x.text), shorten(message))
	}
	return out, nil
}

// bool evaluates a condition.
func (x *expression) bool(env *environment, e *Event) (bool, error) {
	out, err := x.run(env, e)
	if err != nil {
		return false, err
	}
	yes, ok := out.(bool)
	if !ok {
		return false, fail("expression", "%s: gives %T, not true or false", shorten(x.text), out)
	}
	return yes, nil
}

// appendText appends the value of x as text. Nil is empty.
func (x *expression) appendText(dst []byte, env *environment, e *Event) ([]byte, error) {
	if x.direct != "" {
		if v, ok := e.Get(x.direct); ok && v.Kind != Null {
			dst = append(dst, v.Text...)
		}
		return dst, nil
	}
	out, err := x.run(env, e)
	if err != nil {
		return dst, err
	}
	switch v := out.(type) {
	case nil:
		return dst, nil
	case string:
		return append(dst, v...), nil
	}
	v, err := valueOf(out)
	if err != nil {
		return dst, err
	}
	return append(dst, v.Text...), nil
}

// float evaluates a number.
func (x *expression) float(env *environment, e *Event) (float64, error) {
	out, err := x.run(env, e)
	if err != nil {
		return 0, err
	}
	switch v := out.(type) {
	case float64:
		return v, nil
	case int:
		return float64(v), nil
	}
	return 0, fail("expression", "%s: gives %s, not a number", shorten(x.text), fmt.Sprintf("%T", out))
}
