package pipeline

import (
	"bytes"
	"iter"
	"net/netip"
	"regexp"
	"slices"
	"unsafe"
)

// detector finds secrets of one kind.
type detector struct {
	// need is what a text must have for a search to make sense; empty means
	// nothing. It spares most lines the search.
	need []byte
	// pattern finds candidates. With groups, these are the secrets.
	pattern *regexp.Regexp
	// scan finds the next secret at or after a place by itself, without a
	// pattern.
	scan func(text []byte, at int) []int
}

// all yields where each secret begins and ends, in order.
func (d *detector) all(text []byte) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		if d.scan != nil {
			for at := 0; ; {
				place := d.scan(text, at)
				if place == nil || !yield(place) {
					return
				}
				at = place[1]
			}
		}
		if d.need != nil && !bytes.Contains(text, d.need) {
			return
		}
		end := 0
		for _, match := range d.pattern.FindAllSubmatchIndex(text, -1) {
			groups := match[2:]
			if !slices.ContainsFunc(groups, func(at int) bool { return at >= 0 }) {
				groups = match[:2]
			}
			for ; len(groups) > 1; groups = groups[2:] {
				// An empty group hides nothing, and one within another is hidden.
				if from, to := groups[0], groups[1]; from >= end && to > from {
					end = to
					if !yield(groups[:2]) {
						return
					}
				}
			}
		}
	}
}

// in reports whether there is a secret in text.
func (d *detector) in(text []byte) bool {
	for range d.all(text) {
		return true
	}
	return false
}

var redactPresets = []struct {
	name      string
	detectors []detector
}{
	{"email", []detector{{need: []byte("@"), pattern: regexp.MustCompile(
		`[A-Za-z0-9][A-Za-z0-9._%+\-]*@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}`)}}},
	{"ipv4", []detector{{scan: scanIPv4}}},
	{"ipv6", []detector{{scan: scanIPv6}}},
	{"card", []detector{{scan: scanCard}}},
	{"jwt", []detector{{need: []byte("eyJ"), pattern: regexp.MustCompile(
		`eyJ[A-Za-z0-9_\-]{5,}\.eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*`)}}},
	{"bearer", []detector{{need: []byte("earer"), pattern: regexp.MustCompile(`\b[Bb]earer[ =:]+"?([A-Za-z0-9._~+/=\-]{8,})`)},
		{need: []byte("BEARER"), pattern: regexp.MustCompile(`\bBEARER[ =:]+"?([A-Za-z0-9._~+/=\-]{8,})`)}}},
	{"aws_key", append(awsIDs(),
		detector{need: []byte("ecret"), pattern: awsSecret}, detector{need: []byte("ECRET"), pattern: awsSecret})},
	{"url_password", []detector{{need: []byte("://"), pattern: regexp.MustCompile(`://[^\s/:@?#"]*:([^\s/?#"]+)@`)}}},
}

var awsSecret = regexp.MustCompile(`(?i)aws_?secret_?(?:access_?)?key["']?\s*[:=]\s*["']?([A-Za-z0-9/+]{40})`)

// awsIDs returns a detector for each kind of access key, so that a line without
// any is told by a search for four letters.
func awsIDs() []detector {
	var list []detector
	for _, kind := range []string{"AKIA", "ASIA", "AGPA", "AIDA", "AROA", "AIPA", "ANPA", "ANVA"} {
		list = append(list, detector{need: []byte(kind), pattern: regexp.MustCompile(`\b` + kind + `[A-Z0-9]{16}\b`)})
	}
	return list
}

// redactPreset returns the detectors of a preset.
func redactPreset(name string) ([]detector, bool) {
	for _, p := range redactPresets {
		if p.name == name {
			return p.detectors, true
		}
	}
	return nil, false
}

// scanCard finds the next card number: 13 to 19 digits, alone or in groups with
// one space or dash between them, that begin with 2 to 6 and pass Luhn's check
// (ISO/IEC 7812).
func scanCard(text []byte, at int) []int {
	for i := at; i < len(text); i++ {
		if !isDigit(text[i]) || i > 0 && isDigit(text[i-1]) {
			continue
		}
		if end := cardEnd(text[i:]); end > 0 {
			return []int{i, i + end}
		}
	}
	return nil
}

// cardEnd returns where the longest card number at the front of text ends, or 0.
func cardEnd(text []byte) int {
	if text[0] < '2' || text[0] > '6' {
		return 0
	}
	var number [19]byte
	n, end := 0, 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if !isDigit(c) {
			between := (c == ' ' || c == '-') && i+1 < len(text) && isDigit(text[i+1])
			if !between {
				break
			}
			continue
		}
		if n == len(number) {
			break
		}
		number[n] = c - '0'
		n++
		last := i+1 == len(text) || !isDigit(text[i+1])
		if last && n >= 13 && luhn(number[:n]) {
			end = i + 1
		}
	}
	return end
}

// luhn reports whether the last digit is the check digit of those before it.
func luhn(number []byte) bool {
	sum := 0
	for i, d := range number {
		v := int(d)
		if (len(number)-i)%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// scanIPv4 finds the next IPv4 address: four numbers up to 255 with points
// between them that stand alone.
func scanIPv4(text []byte, at int) []int {
	for i := at; i < len(text); i++ {
		if !isDigit(text[i]) || i > 0 && (isDigit(text[i-1]) || wordLetter(text[i-1])) {
			continue
		}
		if n := ipv4Length(text[i:]); n > 0 && (i+n == len(text) || !wordLetter(text[i+n])) {
			return []int{i, i + n}
		}
	}
	return nil
}

// ipv4Length returns the length of the address at the front of text, or 0.
func ipv4Length(text []byte) int {
	i := 0
	for part := range 4 {
		if part > 0 {
			if i == len(text) || text[i] != '.' {
				return 0
			}
			i++
		}
		value, start := 0, i
		for i < len(text) && isDigit(text[i]) && i-start < 4 {
			value = 10*value + int(text[i]-'0')
			i++
		}
		if i == start || i-start > 3 || value > 255 {
			return 0
		}
	}
	return i
}

// maxIPv6 is the length of the longest text of an IPv6 address, in bytes.
const maxIPv6 = 45

// scanIPv6 finds the next IPv6 address: a run of hexadecimal digits, colons and
// points that is one, also without what ends a sentence.
func scanIPv6(text []byte, at int) []int {
	for i := at; i < len(text); {
		if !ipv6Byte(text[i]) {
			i++
			continue
		}
		start, colons := i, 0
		for i < len(text) && ipv6Byte(text[i]) {
			if text[i] == ':' {
				colons++
			}
			i++
		}
		if colons < 2 || start > 0 && wordLetter(text[start-1]) || i < len(text) && wordLetter(text[i]) || i-start > maxIPv6+2 {
			continue
		}
		candidate := text[start:i]
		for range 3 {
			if address, err := netip.ParseAddr(stringOf(candidate)); err == nil && address.Is6() {
				return []int{start, start + len(candidate)}
			}
			if last := candidate[len(candidate)-1]; len(candidate) < 3 || last != ':' && last != '.' {
				break
			}
			candidate = candidate[:len(candidate)-1]
		}
	}
	return nil
}

func ipv6Byte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || c == ':' || c == '.'
}

func wordLetter(c byte) bool { return letter(c) || c == '_' }

// bytesOf returns the bytes of text, which must not be written to.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// stringOf returns text as a string that is used up before text changes.
func stringOf(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
