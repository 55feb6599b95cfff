package jsondoc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// AppendString appends s as a JSON string, with U+FFFD for each byte that is no
// UTF-8, and reports whether there was none. It allocates nothing.
func AppendString(dst, s []byte) (_ []byte, valid bool) {
	dst = append(dst, '"')
	valid = utf8.Valid(s)
	if valid {
		dst = AppendEscaped(dst, s)
	} else {
		for len(s) > 0 {
			n := 0
			for n < len(s) {
				r, size := utf8.DecodeRune(s[n:])
				if r == utf8.RuneError && size == 1 {
					break
				}
				n += size
			}
			dst = AppendEscaped(dst, s[:n])
			if n < len(s) {
				dst = utf8.AppendRune(dst, utf8.RuneError)
				n++
			}
			s = s[n:]
		}
	}
	return append(dst, '"'), valid
}

// AppendEscaped appends text, which is valid UTF-8, as the inside of a JSON
// string.
func AppendEscaped(dst, text []byte) []byte {
	for {
		n := plainLength(text)
		dst = append(dst, text[:n]...)
		if n == len(text) {
			return dst
		}
		dst = appendEscapedByte(dst, text[n])
		text = text[n+1:]
	}
}

func appendEscapedByte(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// plainLength returns how many bytes at the front of text stand for themselves
// in a JSON string. It looks at eight of them at a time.
func plainLength(text []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(text)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		// A byte's high bit is set where the byte is below its bound: 0x20, or
		// 1 for those that are zero where the text has the character. A borrow
		// can set it wrongly only above a byte where it is set rightly, so the
		// lowest is right.
		special := ((x-ones*0x20)&^x | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(text) {
		if c := text[n]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
		n++
	}
	return n
}
