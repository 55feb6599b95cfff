package framing

// clock parses the timestamps of a json-file: RFC 3339 in UTC, with as many
// digits of fraction as are not zero. It remembers the last second, since most
// entries have that of the one before.
type clock struct {
	second [secondSize]byte
	unix   int64
}

// secondSize is the length of a timestamp up to its seconds.
const secondSize = len("2006-01-02T15:04:05")

// parse returns a timestamp in Unix nanoseconds, and false for another form.
func (c *clock) parse(b []byte) (int64, bool) {
	if len(b) <= secondSize || b[len(b)-1] != 'Z' {
		return 0, false
	}
	if string(b[:secondSize]) != string(c.second[:]) {
		unix, ok := parseSecond(b[:secondSize])
		if !ok {
			return 0, false
		}
		c.unix = unix
		copy(c.second[:], b)
	}
	fraction := b[secondSize : len(b)-1]
	if len(fraction) == 0 {
		return c.unix, true
	}
	if fraction[0] != '.' || len(fraction) < 2 || len(fraction) > 10 {
		return 0, false
	}
	nanos := 0
	for _, d := range fraction[1:] {
		if d < '0' || d > '9' {
			return 0, false
		}
		nanos = nanos*10 + int(d-'0')
	}
	for n := len(fraction); n < 10; n++ {
		nanos *= 10
	}
	return c.unix + int64(nanos), true
}

// parseSecond parses the date and time of a timestamp, and returns it in Unix
// nanoseconds.
func parseSecond(b []byte) (int64, bool) {
	if b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	hour, ok4 := digits(b[11:13])
	minute, ok5 := digits(b[14:16])
	second, ok6 := digits(b[17:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 ||
		year < 1 || month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	return daysFromCivil(year, month, day)*86400e9 + int64(hour*3600+minute*60+second)*1e9, true
}

// daysIn returns the number of days of a month.
func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}
