package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// key is a key that was pressed: the character, or one of those below.
type key rune

// The keys that are no characters. Their values are none of Unicode's.
const (
	keyUp key = utf8.MaxRune + 1 + iota
	keyDown
	keyPageUp
	keyPageDown
	keyHome
	keyEnd
	keyEscape
)

const (
	keyEnter     key = '\r'
	keyBackspace key = 0x7f
	keyInterrupt key = 0x03
)

// screen is a terminal that shows one picture, in its alternate buffer so that
// what was there before is there afterwards.
type screen struct {
	in, out *os.File
	before  *term.State
}

// openScreen takes over a terminal. Its user calls close.
func openScreen(in, out *os.File) (*screen, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read single keys: %w", err)
	}
	s := &screen{in: in, out: out, before: before}
	// The alternate buffer, no cursor, and no wrapping of lines.
	if _, err := out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l"); err != nil {
		return nil, errors.Join(fmt.Errorf("draw: %w", err), s.close())
	}
	return s, nil
}

// close gives the terminal back.
func (s *screen) close() error {
	_, err := s.out.WriteString("\x1b[?7h\x1b[?25h\x1b[?1049l")
	return errors.Join(err, term.Restore(int(s.in.Fd()), s.before))
}

// size returns the columns and lines that the terminal has now.
func (s *screen) size() (width, height int, err error) {
	width, height, err = term.GetSize(int(s.out.Fd()))
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the terminal's size: %w", err)
	}
	return width, height, nil
}

// draw shows lines from the top. It writes all in one, so that nothing flickers.
func (s *screen) draw(lines []string) error {
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line)
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	return nil
}

// keyPoll is how often the reading of keys looks whether it is to end: a
// terminal cannot be closed to end it, since others use it too.
const keyPoll = 100 * time.Millisecond

// readKeys sends the keys that are pressed, until ctx ends or the terminal does.
func (s *screen) readKeys(ctx context.Context, keys chan<- key) error {
	var buf [256]byte
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(s.in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(keyPoll.Milliseconds()))
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for keys: %w", err)
		}
		if n, err = s.in.Read(buf[:]); err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
		for _, k := range decodeKeys(buf[:n]) {
			select {
			case keys <- k:
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// sequences are the keys that terminals send as more than a character, after
// the escape (ECMA-48, and xterm's documentation of its control sequences).
var sequences = []struct {
	bytes string
	key   key
}{
	{"[A", keyUp}, {"OA", keyUp}, {"[B", keyDown}, {"OB", keyDown},
	{"[5~", keyPageUp}, {"[6~", keyPageDown},
	{"[H", keyHome}, {"OH", keyHome}, {"[1~", keyHome}, {"[F", keyEnd}, {"OF", keyEnd}, {"[4~", keyEnd},
}

// decodeKeys returns the keys of what was read at once. An escape that begins no
// known sequence is the key itself; an unknown sequence is left out.
func decodeKeys(b []byte) []key {
	var keys []key
next:
	for len(b) > 0 {
		if b[0] != 0x1b {
			r, n := utf8.DecodeRune(b)
			b = b[n:]
			switch r {
			case utf8.RuneError:
			case '\n':
				keys = append(keys, keyEnter)
			case '\b':
				keys = append(keys, keyBackspace)
			default:
				keys = append(keys, key(r))
			}
			continue
		}
		b = b[1:]
		for _, s := range sequences {
			if bytes.HasPrefix(b, []byte(s.bytes)) {
				keys = append(keys, s.key)
				b = b[len(s.bytes):]
				continue next
			}
		}
		if len(b) == 0 || b[0] != '[' && b[0] != 'O' {
			keys = append(keys, keyEscape)
			continue
		}
		// Parameters and the final byte of a sequence that is not known.
		end := 1
		for end < len(b) && (b[end] < 0x40 || b[end] > 0x7e) {
			end++
		}
		b = b[min(end+1, len(b)):]
	}
	return keys
}
