package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a file may hold at most. The parser needs a stack frame for each key of
// a mapping and copies as many keys again, so that its work grows with the
// square of the tokens; and aliases and merge keys can name one part of a file
// many times.
const (
	maxFileBytes = 1 << 20
	maxTokens    = 20_000
	maxDepth     = 100
	maxNodes     = 50_000
)

// position is a place in a file, from 1. The zero position is none.
type position struct{ line, column int }

// kind is the kind of a node.
type kind uint8

const (
	null kind = iota
	scalar
	mapping
	sequence
	// broken is a node with an error that is reported already.
	broken
)

// String returns the kind as messages name it.
func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a section", "a list", "broken"}[k]
}

// node is a part of a parsed file: what YAML calls a node, with its aliases and
// merge keys resolved. One node may be part of several others.
type node struct {
	kind kind
	pos  position
	// text is the text of a scalar. It is quoted when it stands in quotes or in
	// a block, and can then be nothing but a text.
	text   string
	quoted bool
	// entries are the keys of a mapping, each once, in the order of the file;
	// those of merge keys follow.
	entries []entry
	// items are the items of a sequence.
	items []*node
}

// entry is a key of a mapping and its value.
type entry struct {
	key   string
	pos   position
	value *node
}

// get returns the entry of a key, or nil.
func (n *node) get(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// parseSyntax parses a YAML document. What is wrong with it goes to report; the
// node is nil when no part of it can be used, and null when it is empty.
func parseSyntax(data []byte, report func(position, string)) (root *node) {
	// The parser is not ours, and a file is not worth a crash.
	defer func() {
		if r := recover(); r != nil {
			report(position{}, fmt.Sprintf("the YAML parser cannot read this file: %v", r))
			root = nil
		}
	}()
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxFileBytes {
		report(position{}, fmt.Sprintf("is longer than %s", ByteSize(maxFileBytes)))
		return nil
	}
	if !utf8.Valid(data) {
		report(invalidUTF8(data), "is not valid UTF-8 here")
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if pos, message := checkTokens(tokens); message != "" {
		report(pos, message)
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if syntax, ok := errors.AsType[yaml.Error](err); ok {
			report(tokenPosition(syntax.GetToken()), syntax.GetMessage())
		} else {
			report(position{}, err.Error())
		}
		return nil
	}
	b := builder{report: report, anchors: map[string]*node{}}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return b.build(doc.Body)
		}
	}
	return &node{pos: position{1, 1}}
}

// invalidUTF8 returns the position of the first byte that is no UTF-8.
func invalidUTF8(data []byte) position {
	pos := position{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		pos.column++
		if r == '\n' {
			pos = position{pos.line + 1, 1}
		}
		data = data[size:]
	}
	return pos
}

// checkTokens finds what the parser must not be given, or would pass over
// without a word: more than it can work through, and more than one document.
func checkTokens(tokens token.Tokens) (position, string) {
	flow := 0        // brackets that are open
	var blocks []int // columns of the blocks that are open
	ended, content := false, false
	for i, tk := range tokens {
		pos := tokenPosition(tk)
		if i >= maxTokens {
			return pos, fmt.Sprintf("the file has more than %d tokens before this one", maxTokens)
		}
		switch tk.Type {
		case token.CommentType:
			continue
		case token.DirectiveType:
			return pos, "YAML directives are not supported"
		case token.DocumentHeaderType:
			if content {
				return pos, "a second YAML document begins here; a configuration is one"
			}
			content = true
			continue
		case token.DocumentEndType:
			ended = true
			continue
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		}
		if ended {
			return pos, "the YAML document ended before this"
		}
		content = true
		if flow <= 0 {
			for len(blocks) > 0 && blocks[len(blocks)-1] > pos.column {
				blocks = blocks[:len(blocks)-1]
			}
			if len(blocks) == 0 || blocks[len(blocks)-1] < pos.column {
				blocks = append(blocks, pos.column)
			}
		}
		if flow+len(blocks) > maxDepth {
			return pos, "is nested too deeply"
		}
	}
	return position{}, ""
}

func tokenPosition(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{}
	}
	return position{tk.Position.Line, tk.Position.Column}
}

// builder makes nodes of the parser's tree.
type builder struct {
	report  func(position, string)
	anchors map[string]*node
	merged  int // entries that merge keys brought so far
}

// build returns the node of n. Whatever it cannot make a node of it reports,
// and returns a broken node for it.
func (b *builder) build(n ast.Node) *node {
	pos := tokenPosition(n.GetToken())
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.buildMapping(n)
	case *ast.SequenceNode:
		list := &node{kind: sequence, pos: pos}
		for _, value := range n.Values {
			list.items = append(list.items, b.build(value))
		}
		return list
	case *ast.AnchorNode:
		value := b.build(n.Value)
		// The name is known only after the value, so that a value can't hold
		// itself.
		if n.Name != nil {
			b.anchors[n.Name.GetToken().Value] = value
		}
		return value
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		value, ok := b.anchors[name]
		if !ok {
			b.report(pos, fmt.Sprintf("no anchor &%s before this alias", shorten(name)))
			return &node{kind: broken, pos: pos}
		}
		return value
	case *ast.NullNode:
		return &node{pos: pos}
	case *ast.LiteralNode:
		return &node{kind: scalar, pos: pos, text: n.Value.Value, quoted: true}
	case *ast.StringNode:
		return &node{kind: scalar, pos: pos, text: n.Value, quoted: n.Token.Type != token.StringType}
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.MergeKeyNode:
		return &node{kind: scalar, pos: pos, text: n.GetToken().Value}
	case *ast.TagNode:
		b.report(pos, fmt.Sprintf("the tag %s is not supported; leave it out", shorten(n.GetToken().Value)))
	default:
		b.report(pos, "is not understood here")
	}
	return &node{kind: broken, pos: pos}
}

func (b *builder) buildMapping(m *ast.MappingNode) *node {
	section := &node{kind: mapping, pos: tokenPosition(m.Start)}
	if len(m.Values) > 0 && !m.IsFlowStyle {
		section.pos = tokenPosition(m.Values[0].Key.GetToken())
	}
	lines := map[string]int{} // where each key was set
	var merges []*node
	for _, v := range m.Values {
		key, pos, ok := b.buildKey(v.Key)
		value := b.build(v.Value)
		if value.kind == null {
			// The parser puts what is not there after the end of the line.
			value = &node{pos: pos}
		}
		if !ok {
			continue
		}
		if line, twice := lines[key]; twice {
			b.report(pos, fmt.Sprintf("the key %q was set in line %d already", shorten(key), line))
			continue
		}
		lines[key] = pos.line
		if v.Key.IsMergeKey() {
			merges = append(merges, value)
		} else {
			section.entries = append(section.entries, entry{key, pos, value})
		}
	}
	for _, value := range merges {
		b.merge(section, value, lines)
	}
	return section
}

// buildKey returns the text of a key.
func (b *builder) buildKey(key ast.Node) (string, position, bool) {
	if question, ok := key.(*ast.MappingKeyNode); ok {
		key = question.Value
	}
	n := b.build(key)
	if n.kind != scalar {
		if n.kind != broken {
			b.report(n.pos, fmt.Sprintf("a key cannot be %s", n.kind))
		}
		return "", position{}, false
	}
	return n.text, tokenPosition(key.GetToken()), true
}

// merge adds the entries of a merge key's value to section: those of a mapping,
// or of each mapping in a list, that are not among the keys that were set.
func (b *builder) merge(section, value *node, set map[string]int) {
	switch value.kind {
	case mapping:
		for _, e := range value.entries {
			if b.merged++; b.merged > maxNodes {
				if b.merged == maxNodes+1 {
					b.report(value.pos, fmt.Sprintf("merge keys bring more than %d keys", maxNodes))
				}
				return
			}
			if _, ok := set[e.key]; !ok {
				set[e.key] = e.pos.line
				section.entries = append(section.entries, e)
			}
		}
	case sequence:
		for _, item := range value.items {
			if item.kind == sequence {
				b.report(item.pos, "a merge key wants sections, not a list in a list")
				continue
			}
			b.merge(section, item, set)
		}
	case broken:
	default:
		b.report(value.pos, fmt.Sprintf("a merge key wants a section, not %s", value.kind))
	}
}
