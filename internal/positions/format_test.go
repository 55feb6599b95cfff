package positions

import (
	"bytes"
	"slices"
	"testing"
)

func TestDecodeChanges(t *testing.T) {
	want := []Change{{"key", []byte("value")}, {"removed", nil}, {"", []byte{}}}
	var got []Change
	record := appendChanges(nil, want)
	if !decodeChanges(record[frameSize:], func(key, value []byte) { got = append(got, Change{string(key), value}) }) {
		t.Error("a whole payload is none")
	}
	if !slices.EqualFunc(got, want, equalChanges) {
		t.Errorf("decoded %v, want %v", got, want)
	}
}

func equalChanges(a, b Change) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
}

func TestInvalidPayloads(t *testing.T) {
	for name, payload := range map[string]string{
		"unknown kind":             "x",
		"key beyond the end":       "c\x04abc",
		"key of enormous length":   "c\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"length without end":       "c\x80",
		"no value":                 "c\x01k",
		"value beyond the end":     "c\x01k\x03v",
		"value of enormous length": "c\x01k\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"short mark":               "m1234567",
		"mark past itself":         string(appendMark(nil, mark{covered: 101})[frameSize:]),
		"mark synced past itself":  string(appendMark(nil, mark{synced: 101})[frameSize:]),
		"mark below zero":          string(appendMark(nil, mark{covered: -1})[frameSize:]),
	} {
		if validPayload([]byte(payload), 100) {
			t.Errorf("%s: taken for valid", name)
		}
	}
	if !validPayload(appendMark(nil, mark{covered: 100, synced: 100})[frameSize:], 100) {
		t.Error("a mark of all that is before it: not taken for valid")
	}
}

func FuzzDecodeChanges(f *testing.F) {
	f.Add([]byte("c"))
	f.Add(appendChanges(nil, []Change{{"key", []byte("value")}, {"removed", nil}})[frameSize:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		decode := func(payload []byte) (changes []Change, ok bool) {
			ok = decodeChanges(payload, func(key, value []byte) { changes = append(changes, Change{string(key), value}) })
			return changes, ok
		}
		first, ok := decode(payload)
		if !ok {
			return
		}
		again, ok := decode(appendChanges(nil, first)[frameSize:])
		if !ok || !slices.EqualFunc(first, again, equalChanges) {
			t.Errorf("encoded and decoded again: %v, %v; want %v", again, ok, first)
		}
	})
}
