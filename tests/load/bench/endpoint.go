package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
)

// counts is what the endpoint has taken, as it tells at /counts.
type counts struct {
	Lines    int64 `json:"lines"`
	Requests int64 `json:"requests"`
	// Bytes are those of the bodies as they came, compressed.
	Bytes int64 `json:"bytes"`
	// Written are the times from the writing of a line to its acknowledgement, and
	// Stamped those from when the engine had it: the agent's part of them. They are
	// told where the protocol has the engine's time, which Loki's has.
	Written delays `json:"written,omitempty"`
	Stamped delays `json:"stamped,omitempty"`
}

// delays says how many lines took i to i+1 milliseconds. The last holds all above.
type delays []int64

// maxDelay is the number of the delays that are told apart.
const maxDelay = 5000

// add enters a delay between two times, unless there is none.
func (d *delays) add(from, to int64) {
	if from == 0 {
		return
	}
	if *d == nil {
		*d = make(delays, maxDelay+1)
	}
	(*d)[max(0, min((to-from)/int64(time.Millisecond), maxDelay))]++
}

// since returns the delays that were entered since before.
func (d delays) since(before delays) delays {
	d = slices.Clone(d)
	for i, n := range before {
		d[i] -= n
	}
	return d
}

// percentile returns the delay that the share p of all lines did not exceed.
func (d delays) percentile(p float64) time.Duration {
	var total, sum int64
	for _, n := range d {
		total += n
	}
	for ms, n := range d {
		if sum += n; sum > 0 && float64(sum) >= p*float64(total) {
			return time.Duration(ms+1) * time.Millisecond
		}
	}
	return 0
}

// endpoint takes pushes in the protocols of the agents that are compared, and
// counts the lines in them.
type endpoint struct {
	mu     sync.Mutex
	counts counts
	// delays says that the lines' times are read.
	delays bool
}

// serveEndpoint listens on a free port of the loopback, prints the URL and
// serves until ctx ends.
func serveEndpoint(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("endpoint", flag.ContinueOnError)
	e := &endpoint{}
	flags.BoolVar(&e.delays, "delays", false, "measure how long lines took")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	server := &http.Server{Handler: e.handler(), ReadHeaderTimeout: 10 * time.Second}
	unhook := context.AfterFunc(ctx, func() { server.Close() })
	defer unhook()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e *endpoint) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = json.NewEncoder(w).Encode(e.counts)
	})
	mux.HandleFunc("POST /loki/api/v1/push", e.take(decodeLoki, http.StatusNoContent))
	mux.HandleFunc("POST /insert/jsonline", e.take(decodeJSONLines, http.StatusOK))
	mux.HandleFunc("POST /v1/logs", e.take(decodeOTLP, http.StatusOK))
	mux.HandleFunc("POST /_bulk", e.bulk)
	// What Elasticsearch's clients ask before they send.
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		fmt.Fprint(w, `{"version":{"number":"8.17.0","build_flavor":"default"},"tagline":"You Know, for Search"}`)
	})
	return mux
}

// decoder calls found for each line of a body, with the time that the line is
// stamped with, 0 where that is not read.
type decoder func(body []byte, h http.Header, found func(line []byte, stamped int64)) error

// take returns a handler that counts the lines that decode finds in a body.
func (e *endpoint) take(decode decoder, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := e.count(r, decode); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(status)
	}
}

// count reads a request and enters it.
func (e *endpoint) count(r *http.Request, decode decoder) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	size := int64(len(body))
	if body, err = unpack(body, r.Header.Get("Content-Encoding")); err != nil {
		return err
	}
	var lines int64
	var times [][2]int64 // of the writing, and of the stamp
	err = decode(body, r.Header, func(line []byte, stamped int64) {
		lines++
		if e.delays {
			times = append(times, [2]int64{stampOf(line), stamped})
		}
	})
	if err != nil {
		return err
	}
	now := time.Now().UnixNano()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts.Requests++
	e.counts.Bytes += size
	e.counts.Lines += lines
	for _, at := range times {
		e.counts.Written.add(at[0], now)
		e.counts.Stamped.add(at[1], now)
	}
	return nil
}

// stampOf returns the time that a line holds, 0 when it has none.
func stampOf(line []byte) int64 {
	i := bytes.LastIndex(line, []byte(stampField))
	if i < 0 {
		return 0
	}
	var n int64
	for _, c := range line[i+len(stampField):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

var zstdReader, _ = zstd.NewReader(nil)

func unpack(body []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return body, nil
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		return zstdReader.DecodeAll(body, nil)
	}
	return nil, fmt.Errorf("content encoding %q", encoding)
}

// decodeLoki finds the lines of a push, in the schema of Loki's
// pkg/push/push.proto: PushRequest.streams = 1, Stream.entries = 2, and of an entry
// timestamp = 1, line = 2; of a timestamp seconds = 1, nanos = 2.
func decodeLoki(body []byte, h http.Header, found func([]byte, int64)) error {
	if strings.HasPrefix(h.Get("Content-Type"), "application/json") {
		return errors.New("JSON pushes are not counted here: use protobuf")
	}
	raw, err := s2.Decode(nil, body)
	if err != nil {
		return err
	}
	var line []byte
	var stamped int64
	return walk(raw, []protowire.Number{1, 2}, func(entry []byte) error {
		line, stamped = nil, 0
		err := fields(entry, func(number protowire.Number, value []byte, _ uint64) error {
			if number == 2 {
				line = value
				return nil
			}
			return fields(value, func(number protowire.Number, _ []byte, n uint64) error {
				stamped += int64(n) * map[protowire.Number]int64{1: int64(time.Second), 2: 1}[number]
				return nil
			})
		})
		found(line, stamped)
		return err
	})
}

// decodeOTLP finds the records of an ExportLogsServiceRequest, in the schema of
// opentelemetry/proto/logs/v1/logs.proto: resource_logs = 1, scope_logs = 2,
// log_records = 2, and of a record body = 5, string_value = 1.
func decodeOTLP(body []byte, _ http.Header, found func([]byte, int64)) error {
	return walk(body, []protowire.Number{1, 2, 2, 5, 1}, func(line []byte) error {
		found(line, 0)
		return nil
	})
}

// walk calls found for each field that path leads to.
func walk(b []byte, path []protowire.Number, found func([]byte) error) error {
	return fields(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number != path[0] || value == nil {
			return nil
		}
		if len(path) == 1 {
			return found(value)
		}
		return walk(value, path[1:], found)
	})
}

// fields calls found for each field of a message, with its bytes or its number.
func fields(b []byte, found func(number protowire.Number, value []byte, n uint64) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		var err error
		switch kind {
		case protowire.BytesType:
			value, _ := protowire.ConsumeBytes(b)
			err = found(number, value, 0)
		case protowire.VarintType:
			value, _ := protowire.ConsumeVarint(b)
			err = found(number, nil, value)
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// decodeJSONLines takes every line that is not empty for a record.
func decodeJSONLines(body []byte, _ http.Header, found func([]byte, int64)) error {
	for l := range bytes.Lines(body) {
		if len(bytes.TrimSpace(l)) > 0 {
			found(l, 0)
		}
	}
	return nil
}

// bulk takes a request of Elasticsearch's bulk API, where every second line is a
// document.
func (e *endpoint) bulk(w http.ResponseWriter, r *http.Request) {
	items := 0
	err := e.count(r, func(body []byte, h http.Header, found func([]byte, int64)) error {
		odd := false
		return decodeJSONLines(body, h, func(l []byte, _ int64) {
			if odd {
				items++
				found(l, 0)
			}
			odd = !odd
		})
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	item := `{"create":{"_index":"bench","status":201}}`
	answer := strings.Repeat(item+",", items)
	fmt.Fprintf(w, `{"took":1,"errors":false,"items":[%s]}`, strings.TrimSuffix(answer, ","))
}

// fetchCounts asks the endpoint at url.
func fetchCounts(ctx context.Context, url string) (counts, error) {
	var c counts
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/counts", nil)
	if err != nil {
		return c, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return c, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return c, errors.New("endpoint answers " + strconv.Itoa(answer.StatusCode))
	}
	return c, json.NewDecoder(answer.Body).Decode(&c)
}

// awaitLines waits until the endpoint at url has taken so many lines.
func awaitLines(ctx context.Context, url string, lines int64, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		c, err := fetchCounts(ctx, url)
		if err != nil || c.Lines == lines {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d lines arrived", c.Lines, lines)
		}
		if err := sleepUntil(ctx, time.Now().Add(100*time.Millisecond)); err != nil {
			return err
		}
	}
}
