package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// stampField begins the field of a line that holds the time of its writing, in
// nanoseconds since the Unix epoch.
const stampField = "ts="

// appendLine appends a line like those of real services, 150 to 250 bytes long
// and without its newline: in turn of an access log, logfmt and JSON. Every line
// tells when it was written.
func appendLine(b []byte, random *rand.Rand, n int, now time.Time) []byte {
	stamp := func() { b = strconv.AppendInt(append(b, stampField...), now.UnixNano(), 10) }
	words := [...]string{"checkout", "inventory", "session", "payment", "gateway", "profile", "search", "shipment"}
	word := func() string { return words[random.IntN(len(words))] }
	switch n % 3 {
	case 0:
		b = fmt.Appendf(b, `10.%d.%d.%d - - [%s] "GET /api/v2/%s/%d?page=%d HTTP/1.1" %d %d "https://shop.example.com/%s" "Mozilla/5.0 (X11; Linux x86_64)" `,
			random.IntN(256), random.IntN(256), random.IntN(256), now.UTC().Format("02/Jan/2006:15:04:05 -0700"),
			word(), random.IntN(1e6), random.IntN(50), 200+random.IntN(4)*100, random.IntN(1e5), word())
		stamp()
	case 1:
		b = fmt.Appendf(b, `level=info service=%s method=POST path=/v1/%s/%d status=%d duration_ms=%d bytes=%d trace_id=%016x%016x user=%d msg="request completed" `,
			word(), word(), random.IntN(1e6), 200+random.IntN(4)*100, random.IntN(2000), random.IntN(1e5), random.Uint64(), random.Uint64(), random.IntN(1e6))
		stamp()
	default:
		b = fmt.Appendf(b, `{"level":"warn","service":"%s","component":"%s","request_id":"%016x","user_id":%d,"elapsed_ms":%d,"retry":%t,"message":"upstream answered late","meta":"`,
			word(), word(), random.Uint64(), random.IntN(1e6), random.IntN(5000), random.IntN(2) == 0)
		stamp()
		b = append(b, `"}`...)
	}
	return b
}

// write is what runs in the containers: it writes lines to stdout and ends, or
// stays alive when told to.
func write(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("write", flag.ContinueOnError)
	lines := flags.Int("lines", 0, "`lines` to write")
	rate := flags.Float64("rate", 0, "`lines` a second; 0 for as many as possible")
	name := flags.String("name", "", "`name` that makes the lines differ from those of others")
	hold := flags.Bool("hold", false, "stay alive after the last line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// The same name gives the same lines, but for their times.
	h := fnv.New64a()
	h.Write([]byte(*name))
	random := rand.New(rand.NewPCG(h.Sum64(), binary.LittleEndian.Uint64([]byte("a corpus"))))
	// Without a rate, lines go out many in a write, as a program with a buffered
	// stdout writes them.
	w := bufio.NewWriterSize(out, 32<<10)
	var line []byte
	begin := time.Now()
	for n := range *lines {
		if *rate > 0 {
			if err := sleepUntil(ctx, begin.Add(time.Duration(float64(n)/(*rate)*1e9))); err != nil {
				return nil
			}
		}
		line = append(appendLine(line[:0], random, n, time.Now()), '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
		if *rate > 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if *hold {
		<-ctx.Done()
	}
	return nil
}

func sleepUntil(ctx context.Context, t time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t)):
		return nil
	}
}
