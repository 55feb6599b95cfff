package promtail

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"text/template/parse"
)

// valueKind is what an expression of a template gives.
type valueKind uint8

const (
	textValue valueKind = iota
	boolValue
	numberValue
)

// value is an expression.
type value struct {
	text string
	kind valueKind
}

// templating converts the templates of Go that Promtail uses.
type templating struct {
	p *pipeline
	// to is the attribute that is set, which a template calls .Value.
	to        string
	variables map[string]value
}

// templateExpression returns the expression of a template. What an attribute does
// not have is empty.
func (p *pipeline) templateExpression(text, to string) (string, error) {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	tree, err := tree.Parse(text, "", "", map[string]*parse.Tree{})
	if err != nil {
		return "", fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "template: "))
	}
	t := &templating{p, to, map[string]value{}}
	return t.list(tree.Root)
}

// list returns the text that nodes give.
func (t *templating) list(list *parse.ListNode) (string, error) {
	if list == nil {
		return `""`, nil
	}
	outer := maps.Clone(t.variables)
	defer func() { t.variables = outer }()
	var parts []string
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			parts = append(parts, quote(string(n.Text)))
		case *parse.ActionNode:
			v, err := t.pipe(n.Pipe)
			if err != nil {
				return "", err
			}
			if len(n.Pipe.Decl) == 0 {
				parts = append(parts, asText(v))
			}
		case *parse.IfNode:
			v, err := t.pipe(n.Pipe)
			if err != nil {
				return "", err
			}
			yes, err := t.list(n.List)
			if err != nil {
				return "", err
			}
			no, err := t.list(n.ElseList)
			if err != nil {
				return "", err
			}
			parts = append(parts, "("+asCondition(v)+" ? ("+yes+") : ("+no+"))")
		default:
			return "", fmt.Errorf("of templates only values and {{ if }} are understood, not %q", n)
		}
	}
	if len(parts) == 0 {
		return `""`, nil
	}
	text := strings.Join(parts, " + ")
	if len(text) > 4*maxExpression {
		return "", errors.New("a template is too long")
	}
	return text, nil
}

func asText(v value) string {
	if v.kind == textValue {
		return v.text
	}
	return "string(" + v.text + ")"
}

func asCondition(v value) string {
	switch v.kind {
	case boolValue:
		return v.text
	case numberValue:
		return "(" + v.text + ") != 0"
	}
	return "(" + v.text + `) != ""`
}

// pipe returns the value of a pipeline of a template.
func (t *templating) pipe(n *parse.PipeNode) (value, error) {
	var last *value
	for _, command := range n.Cmds {
		v, err := t.command(command, last)
		if err != nil {
			return value{}, err
		}
		if last = &v; len(v.text) > maxExpression {
			return value{}, errors.New("a template is too long")
		}
	}
	if last == nil {
		return value{}, errors.New("a template has an empty pipeline")
	}
	if n.IsAssign || len(n.Decl) > 1 {
		return value{}, errors.New("a template sets a variable anew, which is not understood")
	}
	for _, d := range n.Decl {
		t.variables[d.Ident[0]] = *last
	}
	return *last, nil
}

func (t *templating) command(n *parse.CommandNode, piped *value) (value, error) {
	name, isCall := n.Args[0].(*parse.IdentifierNode)
	if !isCall {
		if len(n.Args) > 1 || piped != nil {
			return value{}, fmt.Errorf("%q in a template is not understood", n)
		}
		return t.operand(n.Args[0])
	}
	var args []value
	for _, a := range n.Args[1:] {
		v, err := t.operand(a)
		if err != nil {
			return value{}, err
		}
		args = append(args, v)
	}
	if piped != nil {
		args = append(args, *piped)
	}
	return call(name.Ident, args)
}

func (t *templating) operand(n parse.Node) (value, error) {
	switch n := n.(type) {
	case *parse.FieldNode:
		if len(n.Ident) == 1 {
			return t.attribute(n.Ident[0]), nil
		}
	case *parse.VariableNode:
		if v, ok := t.variables[n.Ident[0]]; ok && len(n.Ident) == 1 {
			return v, nil
		}
	case *parse.PipeNode:
		return t.pipe(n)
	case *parse.StringNode:
		return value{quote(n.Text), textValue}, nil
	case *parse.NumberNode:
		return value{n.Text, numberValue}, nil
	case *parse.BoolNode:
		return value{strconv.FormatBool(n.True), boolValue}, nil
	case *parse.IdentifierNode:
		return call(n.Ident, nil)
	}
	return value{}, fmt.Errorf("%q in a template is not understood", n)
}

func (t *templating) attribute(name string) value {
	switch name {
	case "Value":
		name = t.to
	case "Entry":
		return value{"line", textValue}
	}
	return value{t.p.source(name), textValue}
}

// function converts a call.
type function struct {
	// args is the number of arguments, -1 for any.
	args int
	form func(a []string) string
	kind valueKind
}

// textFunctions are those whose arguments are texts.
var textFunctions = map[string]function{
	"ToLower": {1, func(a []string) string { return "lower(" + a[0] + ")" }, textValue},
	"ToUpper": {1, func(a []string) string { return "upper(" + a[0] + ")" }, textValue},
	"lower":   {1, func(a []string) string { return "lower(" + a[0] + ")" }, textValue},
	"upper":   {1, func(a []string) string { return "upper(" + a[0] + ")" }, textValue},
	"trim":    {1, func(a []string) string { return "trim(" + a[0] + ")" }, textValue},

	"TrimSpace":  {1, func(a []string) string { return "trim(" + a[0] + ")" }, textValue},
	"Trim":       {2, func(a []string) string { return "trim(" + a[0] + ", " + a[1] + ")" }, textValue},
	"trimAll":    {2, func(a []string) string { return "trim(" + a[1] + ", " + a[0] + ")" }, textValue},
	"TrimPrefix": {2, func(a []string) string { return "trimPrefix(" + a[0] + ", " + a[1] + ")" }, textValue},
	"TrimSuffix": {2, func(a []string) string { return "trimSuffix(" + a[0] + ", " + a[1] + ")" }, textValue},
	"trimPrefix": {2, func(a []string) string { return "trimPrefix(" + a[1] + ", " + a[0] + ")" }, textValue},
	"trimSuffix": {2, func(a []string) string { return "trimSuffix(" + a[1] + ", " + a[0] + ")" }, textValue},
	"replace":    {3, func(a []string) string { return "replace(" + a[2] + ", " + a[0] + ", " + a[1] + ")" }, textValue},
	"default":    {2, func(a []string) string { return "(" + a[1] + ` != "" ? ` + a[1] + " : " + a[0] + ")" }, textValue},
	"print":      {-1, func(a []string) string { return "(" + strings.Join(a, " + ") + ")" }, textValue},

	"contains":  {2, func(a []string) string { return "((" + a[1] + ") contains (" + a[0] + "))" }, boolValue},
	"hasPrefix": {2, func(a []string) string { return "((" + a[1] + ") startsWith (" + a[0] + "))" }, boolValue},
	"hasSuffix": {2, func(a []string) string { return "((" + a[1] + ") endsWith (" + a[0] + "))" }, boolValue},
	"empty":     {1, func(a []string) string { return "((" + a[0] + `) == "")` }, boolValue},
	"len":       {1, func(a []string) string { return "len(" + a[0] + ")" }, numberValue},
	"atoi":      {1, toNumber, numberValue},
	"int":       {1, toNumber, numberValue},
	"int64":     {1, toNumber, numberValue},
}

func toNumber(a []string) string {
	return "((" + a[0] + ") matches `^-?\\d{1,18}$` ? int(" + a[0] + ") : 0)"
}

var comparisons = map[string]string{"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}

// call returns the value of a function.
func call(name string, args []value) (value, error) {
	wrong := fmt.Errorf("the function %s of templates is not understood as it is used", name)
	if operator := comparisons[name]; operator != "" {
		if len(args) < 2 || name != "eq" && len(args) > 2 {
			return value{}, wrong
		}
		var either []string
		for _, other := range args[1:] {
			if other.kind != args[0].kind || other.kind == boolValue && operator != "==" && operator != "!=" {
				return value{}, wrong
			}
			either = append(either, "("+args[0].text+") "+operator+" ("+other.text+")")
		}
		return value{"(" + strings.Join(either, " or ") + ")", boolValue}, nil
	}
	switch name {
	case "not":
		if len(args) == 1 {
			return value{"not (" + asCondition(args[0]) + ")", boolValue}, nil
		}
		return value{}, wrong
	case "and", "or":
		return conjunction(name, args)
	case "Replace":
		if len(args) == 4 && args[3].kind == numberValue {
			form := "replace(" + asText(args[0]) + ", " + asText(args[1]) + ", " + asText(args[2])
			if !strings.HasPrefix(args[3].text, "-") {
				form += ", " + args[3].text
			}
			return value{form + ")", textValue}, nil
		}
		return value{}, wrong
	}
	f, ok := textFunctions[name]
	if !ok {
		return value{}, fmt.Errorf("the function %s of templates is not understood", name)
	}
	if f.args >= 0 && len(args) != f.args || len(args) == 0 {
		return value{}, wrong
	}
	var texts []string
	for _, a := range args {
		texts = append(texts, asText(a))
	}
	return value{f.form(texts), f.kind}, nil
}

// conjunction returns the first of the arguments that decides, as Go does.
func conjunction(name string, args []value) (value, error) {
	if len(args) == 0 {
		return value{}, fmt.Errorf("the function %s of templates needs values", name)
	}
	last := args[len(args)-1]
	same := true
	for _, a := range args {
		same = same && a.kind == last.kind
	}
	if !same || last.kind == boolValue {
		var conditions []string
		for _, a := range args {
			conditions = append(conditions, "("+asCondition(a)+")")
		}
		return value{"(" + strings.Join(conditions, " "+name+" ") + ")", boolValue}, nil
	}
	expression := last.text
	for i := len(args) - 2; i >= 0; i-- {
		if name == "or" {
			expression = "(" + asCondition(args[i]) + " ? " + args[i].text + " : " + expression + ")"
		} else {
			expression = "(" + asCondition(args[i]) + " ? " + expression + " : " + args[i].text + ")"
		}
	}
	return value{expression, last.kind}, nil
}
