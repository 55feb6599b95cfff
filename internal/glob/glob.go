// Package glob finds files by patterns of their paths.
//
// In a pattern, * stands for any text within one part of a path, ? for any one
// character, [a-z] for one of these and [!a-z] for any other one. A part that is
// ** stands for any number of directories, none included. {name} stands for any
// text within one part that is not empty, which is then known by that name. A
// brace that is meant as such is written twice, and a backslash takes the meaning
// from the character behind it.
package glob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Pattern is a compiled pattern. It is immutable, and may be used from any number
// of goroutines.
type Pattern struct {
	text  string
	parts []part
	whole *regexp.Regexp
	names []string
	// nameOnly says that the pattern is one of names, in whatever directory.
	nameOnly bool
}

// part is what stands between two slashes.
type part struct {
	// literal is the text of a part that stands for itself.
	literal string
	// match is set for one that does not, deep for **.
	match *regexp.Regexp
	deep  bool
}

// Compile returns the pattern of absolute paths.
func Compile(text string) (*Pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("want a pattern of absolute paths, as in /var/log/*.log, not %q", text)
	}
	if strings.HasSuffix(text, "/") || path.Base(text) == "**" {
		return nil, fmt.Errorf("the pattern %q is one of directories; add what the files are called, as in %q", text, strings.TrimSuffix(text, "/")+"/*")
	}
	if slices.ContainsFunc(strings.Split(text, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return nil, fmt.Errorf("the pattern %q has . or .. as a part", text)
	}
	return compile(text)
}

// CompileExclude returns a pattern that says what to leave out: that of absolute
// paths, or, without a slash, of names. It has no {name}.
func CompileExclude(text string) (*Pattern, error) {
	if text == "" {
		return nil, errors.New("an empty pattern matches nothing")
	}
	var p *Pattern
	var err error
	if strings.Contains(text, "/") {
		p, err = Compile(text)
	} else {
		p, err = compile(text)
	}
	if err != nil {
		return nil, err
	}
	if len(p.names) > 0 {
		return nil, fmt.Errorf("{%s} has no meaning in what is left out; write *", p.names[0])
	}
	p.nameOnly = !strings.Contains(text, "/")
	return p, nil
}

func compile(text string) (*Pattern, error) {
	p := &Pattern{text: text}
	var whole strings.Builder
	whole.WriteString(`(?s)\A`)
	// Several slashes are as good as one.
	for i, s := range strings.FieldsFunc(text, func(c rune) bool { return c == '/' }) {
		if strings.HasPrefix(text, "/") && (i == 0 || !p.parts[i-1].deep) {
			whole.WriteByte('/')
		}
		if s == "**" {
			p.parts = append(p.parts, part{deep: true})
			if i == 0 || !p.parts[i-1].deep {
				whole.WriteString(`(?:[^/]+/)*`)
			}
			continue
		}
		expression, literal, err := p.translate(s)
		if err != nil {
			return nil, err
		}
		whole.WriteString(expression)
		if literal != "" {
			p.parts = append(p.parts, part{literal: literal})
			continue
		}
		match, err := regexp.Compile(`(?s)\A` + expression + `\z`)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q is none: want pairs of [ and ]", text)
		}
		p.parts = append(p.parts, part{match: match})
	}
	whole.WriteString(`\z`)
	var err error
	if p.whole, err = regexp.Compile(whole.String()); err != nil {
		return nil, fmt.Errorf("the pattern %q is none: want pairs of [ and ]", text)
	}
	return p, nil
}

// translate returns the regular expression of a part, and its text where it
// stands for itself.
func (p *Pattern) translate(s string) (expression, literal string, err error) {
	var e, l strings.Builder
	special := false
	add := func(c byte) {
		e.WriteString(regexp.QuoteMeta(string([]byte{c})))
		l.WriteByte(c)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			add(s[i])
		case (c == '{' || c == '}') && i+1 < len(s) && s[i+1] == c:
			i++
			add(c)
		case c == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 2 {
				return "", "", fmt.Errorf("the pattern %q has a { that begins no {name}; write {{ for a brace", p.text)
			}
			name := s[i+1 : i+end]
			if slices.Contains(p.names, name) {
				return "", "", fmt.Errorf("the pattern %q has {%s} twice", p.text, name)
			}
			p.names = append(p.names, name)
			e.WriteString(`([^/]+)`)
			special = true
			i += end
		case c == '}':
			return "", "", fmt.Errorf("the pattern %q has a } that ends nothing; write }} for a brace", p.text)
		case c == '*':
			e.WriteString(`[^/]*`)
			special = true
		case c == '?':
			e.WriteString(`[^/]`)
			special = true
		case c == '[':
			end := strings.IndexByte(s[min(i+2, len(s)):], ']')
			if end < 0 {
				return "", "", fmt.Errorf("the pattern %q has a [ that is not closed", p.text)
			}
			class := s[i+1 : i+2+end]
			e.WriteByte('[')
			if class[0] == '!' || class[0] == '^' {
				e.WriteByte('^')
				class = class[1:]
			}
			e.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(class))
			e.WriteByte(']')
			special = true
			i += 2 + end
		default:
			add(c)
		}
	}
	if special {
		return e.String(), "", nil
	}
	return e.String(), l.String(), nil
}

// String returns the text that the pattern was compiled from.
func (p *Pattern) String() string { return p.text }

// Names returns the names in the pattern, in their order.
func (p *Pattern) Names() []string { return slices.Clone(p.names) }

// Match reports whether path matches, and returns what the names stand for, in
// their order.
func (p *Pattern) Match(path string) (values []string, ok bool) {
	if p.nameOnly {
		path = filepath.Base(path)
	}
	m := p.whole.FindStringSubmatch(path)
	if m == nil {
		return nil, false
	}
	return m[1:], true
}

// Walk calls file for each regular file whose path matches, and dir for
// each directory in which such files may appear. What a directory holds that
// can't be read is passed over, and its error returned at the end.
func (p *Pattern) Walk(dir, file func(path string)) error {
	w := &walk{dir: dir, file: file, deep: map[string]bool{}}
	w.in("/", p.parts)
	return w.err
}

type walk struct {
	dir, file func(path string)
	err       error
	// deep holds what was gone into for a **, since several of them in a row
	// would come to it several times.
	deep map[string]bool
}

// in goes on with the parts of a pattern in a directory.
func (w *walk) in(dir string, parts []part) {
	first, rest := parts[0], parts[1:]
	if first.literal != "" {
		path := filepath.Join(dir, first.literal)
		if len(rest) > 0 {
			w.in(path, rest)
			return
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return
		}
		w.dir(dir)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			w.file(path)
		}
		return
	}
	if first.deep {
		if len(rest) > 0 && rest[0].deep {
			w.in(dir, rest)
			return
		}
		key := fmt.Sprint(len(rest)) + dir
		if w.deep[key] {
			return
		}
		w.deep[key] = true
		w.in(dir, rest)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && w.err == nil {
		w.err = fmt.Errorf("look for files: %w", err)
	}
	if err != nil {
		return
	}
	w.dir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case first.deep:
			// A link is not followed: it could lead back.
			if e.IsDir() {
				w.in(path, parts)
			}
		case !first.match.MatchString(e.Name()):
		case len(rest) > 0:
			if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
				w.in(path, rest)
			}
		case e.Type().IsRegular():
			w.file(path)
		case e.Type()&fs.ModeSymlink != 0:
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				w.file(path)
			}
		}
	}
}
