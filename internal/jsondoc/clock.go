package jsondoc

import (
	"strconv"
	"time"
)

// Clock writes times as text. It keeps the text of the second of the last one,
// most often that of the next. The zero Clock is ready, and belongs to one
// goroutine.
type Clock struct {
	second     int64
	secondText [len(secondLayout)]byte
}

const secondLayout = "2006-01-02T15:04:05"

// Append appends a time in Unix nanoseconds: UTC, RFC 3339 with nine digits
// after the second.
func (c *Clock) Append(dst []byte, unixNano int64) []byte {
	second, nano := split(unixNano)
	if second != c.second || c.secondText[0] == 0 {
		time.Unix(second, 0).UTC().AppendFormat(c.secondText[:0], secondLayout)
		c.second = second
	}
	dst = append(dst, c.secondText[:]...)
	return append(appendNanos(dst, nano), 'Z')
}

// split returns the seconds of a time in Unix nanoseconds, rounded down, and
// the nanoseconds after them.
func split(unixNano int64) (second, nano int64) {
	second, nano = unixNano/1e9, unixNano%1e9
	if nano < 0 {
		second, nano = second-1, nano+1e9
	}
	return second, nano
}

// appendNanos appends a point and the nine digits of the nanoseconds.
func appendNanos(dst []byte, nano int64) []byte {
	dst = append(dst, ".000000000"...)
	for i := len(dst) - 1; nano > 0; i-- {
		dst[i] += byte(nano % 10)
		nano /= 10
	}
	return dst
}

// AppendEpoch appends a time in Unix nanoseconds as a number of seconds, with
// nine digits after the point.
func AppendEpoch(dst []byte, unixNano int64) []byte {
	if unixNano < 0 {
		dst = append(dst, '-')
		// The least number is its own opposite; as an unsigned one it is right.
		second, nano := uint64(-unixNano)/1e9, uint64(-unixNano)%1e9
		return appendNanos(strconv.AppendUint(dst, second, 10), int64(nano))
	}
	return appendNanos(strconv.AppendInt(dst, unixNano/1e9, 10), unixNano%1e9)
}
