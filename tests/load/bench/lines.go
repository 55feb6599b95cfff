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

var services = []string{"checkout", "inventory", "session", "payment", "gateway", "profile", "search", "shipment"}

var browsers = []string{
	"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
	"kube-probe/1.33 (readiness of the shop, every two seconds from every node)",
}

// pick2 returns a nine times in ten, else b.
func pick2(random *rand.Rand, a, b int) int {
	if random.IntN(10) == 0 {
		return b
	}
	return a
}

// appendLine appends a line like those of real services, 150 to 250 bytes long
// and without its newline: in turn of an access log, logfmt and JSON. Every line
// tells when it was written.
func appendLine(b []byte, random *rand.Rand, n int, now time.Time) []byte {
	stamp := func() { b = strconv.AppendInt(append(b, stampField...), now.UnixNano(), 10) }
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	switch n % 3 {
	case 0:
		b = fmt.Appendf(b, `10.4.%d.%d - - [%s] "GET /api/v2/%s/%d HTTP/1.1" %d %d "-" "%s" `,
			random.IntN(8), random.IntN(256), now.UTC().Format("02/Jan/2006:15:04:05 -0700"),
			pick(services), random.IntN(1e5), pick2(random, 200, 304), random.IntN(1e5), pick(browsers))
		stamp()
	case 1:
		b = fmt.Appendf(b, `time=%s level=info service=%s method=POST path=/v1/%s/items status=%d duration_ms=%d trace_id=%016x msg="request completed" `,
			now.UTC().Format(time.RFC3339), pick(services), pick(services), pick2(random, 200, 201), random.IntN(2000), random.Uint64())
		stamp()
	default:
		b = fmt.Appendf(b, `{"level":"warn","service":"%s","logger":"com.example.shop.%s","user_id":%d,"elapsed_ms":%d,"message":"upstream answered late, trying the next one","meta":"`,
			pick(services), pick(services), random.IntN(1e5), random.IntN(5000))
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
	burst := flags.Int("burst", 1, "`lines` that are written together at that rate")
	name := flags.String("name", "", "`name` that makes the lines differ from those of others")
	hold := flags.Bool("hold", false, "stay alive after the last line")
	endless := flags.Bool("endless", false, "write until told to end, however many -lines are")
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
	for n := 0; *endless || n < *lines; n++ {
		if *rate > 0 && n%*burst == 0 {
			if err := sleepUntil(ctx, begin.Add(time.Duration(float64(n)/(*rate)*1e9))); err != nil {
				return nil // told to end
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
