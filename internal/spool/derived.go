package spool

import (
	"encoding/binary"

	"log_capturer/internal/record"
)

// appendDerivation appends what a pipeline made of a record.
func appendDerivation(p []byte, d *record.Derivation) []byte {
	a := &d.Origin
	p = binary.AppendUvarint(p, a.Seq)
	p = binary.AppendUvarint(p, a.AsOf)
	p = appendBool(p, a.Last)
	p = binary.AppendVarint(p, a.Time)
	p = binary.AppendUvarint(p, uint64(a.Count))
	p = binary.AppendUvarint(p, a.Hash)
	p = appendText(p, d.Level)
	for _, list := range [...][]record.Attribute{d.Attributes, d.Labels} {
		p = binary.AppendUvarint(p, uint64(len(list)))
		for i := range list {
			p = appendText(p, list[i].Name)
			p = appendText(p, list[i].Value)
			p = appendBool(p, list[i].JSON)
		}
	}
	return p
}

func appendText(p []byte, text string) []byte {
	return append(binary.AppendUvarint(p, uint64(len(text))), text...)
}

func appendBool(p []byte, yes bool) []byte {
	if yes {
		return append(p, 1)
	}
	return append(p, 0)
}

// derivation takes what appendDerivation appended.
func (r *reader) derivation() record.Derivation {
	var d record.Derivation
	d.Origin = record.Anchor{
		Seq: r.uvarint(), AsOf: r.uvarint(), Last: r.byte() != 0,
		Time: r.varint(), Count: uint32(r.uvarint()), Hash: r.uvarint(),
	}
	d.Level = r.text()
	for _, list := range [...]*[]record.Attribute{&d.Attributes, &d.Labels} {
		// Each takes at least three bytes, so that a damaged number of them does
		// not make room for more than there are.
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			r.failed = true
			return d
		}
		for range n {
			*list = append(*list, record.Attribute{Name: r.text(), Value: r.text(), JSON: r.byte() != 0})
		}
	}
	return d
}

func (r *reader) text() string { return string(r.bytes(r.uvarint())) }
