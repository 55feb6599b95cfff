package promtail

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// node is a place in the file: a key with its value, or nothing, which has no
// entries, no text and no items.
type node struct {
	ast     ast.Node
	line    int
	path    string
	anchors map[string]ast.Node
}

// keyed is a key of a mapping.
type keyed struct {
	key   string
	value node
}

// parseFile reads a file.
func parseFile(data []byte) (node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return node{}, fmt.Errorf("%w: %w", errNotYAML, err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return node{}, fmt.Errorf("%w: it is empty", errNotYAML)
	}
	root := node{ast: file.Docs[0].Body, line: 1, anchors: map[string]ast.Node{}}
	ast.Walk(anchorFinder(root.anchors), root.ast)
	if _, ok := root.resolve().(*ast.MappingNode); !ok {
		if _, ok := root.resolve().(*ast.MappingValueNode); !ok {
			return node{}, fmt.Errorf("%w of Promtail: it holds no keys", errNotYAML)
		}
	}
	return root, nil
}

// anchorFinder collects what anchors stand for.
type anchorFinder map[string]ast.Node

func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		f[a.Name.GetToken().Value] = a.Value
	}
	return f
}

// maxAliases bounds how often an alias may lead to another one.
const maxAliases = 10

// resolve returns the node itself behind anchors, aliases and tags.
func (n node) resolve() ast.Node {
	found := n.ast
	for range maxAliases {
		switch v := found.(type) {
		case *ast.AnchorNode:
			found = v.Value
		case *ast.AliasNode:
			found = n.anchors[v.Value.GetToken().Value]
		case *ast.TagNode:
			found = v.Value
		default:
			return found
		}
	}
	return nil
}

// exists reports whether there is anything there, if only an empty section.
func (n node) exists() bool { return n.ast != nil }

// entries returns the keys of a mapping, in order.
func (n node) entries() []keyed {
	var values []*ast.MappingValueNode
	switch v := n.resolve().(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	}
	var list []keyed
	for _, v := range values {
		key := v.Key.GetToken().Value
		path := key
		if n.path != "" {
			path = n.path + "." + key
		}
		value := node{v.Value, v.Key.GetToken().Position.Line, path, n.anchors}
		if _, merge := v.Key.(*ast.MergeKeyNode); merge {
			list = append(list, value.entries()...)
			continue
		}
		list = append(list, keyed{key, value})
	}
	return list
}

// get returns the value of a key, or nothing.
func (n node) get(key string) node {
	for _, e := range n.entries() {
		if e.key == key {
			return e.value
		}
	}
	return node{}
}

// list returns the items of a sequence.
func (n node) list() []node {
	v, ok := n.resolve().(*ast.SequenceNode)
	if !ok {
		return nil
	}
	var list []node
	for i, value := range v.Values {
		line := n.line
		if token := value.GetToken(); token != nil {
			line = token.Position.Line
		}
		// The token of a mapping in a sequence is the colon of its first key.
		list = append(list, node{value, line, fmt.Sprintf("%s[%d]", n.path, i), n.anchors})
	}
	return list
}

// text returns a scalar as text, "" for anything else.
func (n node) text() string {
	switch v := n.resolve().(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.NullNode, nil:
		return ""
	case ast.ScalarNode:
		return v.GetToken().Value
	}
	return ""
}

// scalar returns a scalar as what it is to be in the result.
func (n node) scalar() any {
	text := n.text()
	if b, err := strconv.ParseBool(text); err == nil && (text == "true" || text == "false") {
		return b
	}
	return escape(text)
}

// isTrue reports whether a scalar is true.
func (n node) isTrue() bool { return strings.EqualFold(n.text(), "true") }
