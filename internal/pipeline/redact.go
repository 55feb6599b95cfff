package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

type redactStage struct {
	detectors []detector
	action    string
	with      string
	key       []byte
	// only is what alone is looked at, where all is false.
	only target
	all  bool
}

// minHashKey is the length of the shortest key, in bytes.
const minHashKey = 16

func (o *Redact) compile(*compiler) (stage, error) {
	s := &redactStage{action: o.Action, with: o.With, key: []byte(o.Key.Reveal())}
	if s.all = o.Only == ""; !s.all {
		var err error
		if s.only, err = parseTarget("only", o.Only); err != nil {
			return nil, err
		}
		if s.only.kind == levelTarget {
			s.only = target{fieldTarget, o.Only}
		}
	}
	if len(o.Presets)+len(o.Patterns) == 0 {
		return nil, wrong("", "give presets, patterns or both")
	}
	for i, name := range o.Presets {
		found, ok := redactPreset(name)
		if !ok {
			return nil, wrong(fmt.Sprintf("presets[%d]", i), "there is no preset %q; there are %s", shorten(name), redactPresetNames())
		}
		s.detectors = append(s.detectors, found...)
	}
	for i, text := range o.Patterns {
		re, err := pattern(fmt.Sprintf("patterns[%d]", i), text)
		if err != nil {
			return nil, err
		}
		if re.MatchString("") {
			return nil, wrong(fmt.Sprintf("patterns[%d]", i), "matches an empty text, and so everywhere")
		}
		s.detectors = append(s.detectors, detector{pattern: re})
	}
	if o.Action == "hash" && len(s.key) < minHashKey {
		return nil, wrong("key", "want at least %d characters for the action hash", minHashKey)
	}
	if o.Action != "hash" && len(s.key) > 0 {
		return nil, wrong("key", "is for the action hash alone")
	}
	return s, nil
}

func (s *redactStage) open(r *Run) instance { return &redacting{s, r.dropper()} }

type redacting struct {
	*redactStage
	dropper
}

func (s *redacting) process(e *Event, next func(*Event)) error {
	if s.action == "drop" {
		if s.found(e) {
			s.drop(e, "redact")
			return nil
		}
		next(e)
		return nil
	}
	if s.looks(lineTarget, "") {
		if line, changed := s.hide(e.Line); changed {
			e.setLine(line)
		}
	}
	for i := range e.Fields {
		if s.looks(fieldTarget, e.Fields[i].Name) {
			e.Fields[i].Value = s.hideValue(e.Fields[i].Value)
		}
	}
	for i := range e.Labels {
		if s.looks(labelTarget, e.Labels[i].Name) {
			e.Labels[i].Value = s.hideValue(Value{Text, e.Labels[i].Value}).Text
		}
	}
	next(e)
	return nil
}

// looks reports whether something is looked at.
func (s *redactStage) looks(kind targetKind, name string) bool {
	return s.all || s.only.kind == kind && s.only.name == name
}

// found reports whether there is anything to hide in e.
func (s *redactStage) found(e *Event) bool {
	for i := range s.detectors {
		d := &s.detectors[i]
		if s.looks(lineTarget, "") && d.in(e.Line) {
			return true
		}
		for j := range e.Fields {
			if s.looks(fieldTarget, e.Fields[j].Name) && d.in(bytesOf(e.Fields[j].Value.Text)) {
				return true
			}
		}
	}
	return false
}

// hide returns text without what is to be hidden, and whether there was any. The
// text is not written to.
func (s *redactStage) hide(text []byte) ([]byte, bool) {
	changed := false
	for i := range s.detectors {
		d := &s.detectors[i]
		var out []byte
		at := 0
		for place := range d.all(text) {
			out = append(out, text[at:place[0]]...)
			out = s.appendReplacement(out, text[place[0]:place[1]])
			at = place[1]
		}
		if at > 0 {
			text, changed = append(out, text[at:]...), true
		}
	}
	return text, changed
}

// appendReplacement appends what stands for a secret.
func (s *redactStage) appendReplacement(dst, secret []byte) []byte {
	if s.action != "hash" {
		return append(dst, s.with...)
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write(secret)
	dst = append(dst, "hash:"...)
	return hex.AppendEncode(dst, mac.Sum(nil)[:8])
}

func (s *redactStage) hideValue(v Value) Value {
	hidden, changed := s.hide(bytesOf(v.Text))
	if !changed {
		return v
	}
	text := validText(string(hidden))
	// A list of which a part was hidden may be no JSON any more.
	if v.Kind == Raw && json.Valid([]byte(text)) {
		return Value{Raw, text}
	}
	return Value{Text, text}
}

func redactPresetNames() string {
	names := make([]string, len(redactPresets))
	for i, p := range redactPresets {
		names[i] = p.name
	}
	return strings.Join(names, ", ")
}
