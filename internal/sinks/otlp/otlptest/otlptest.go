// Package otlptest has strict destinations for tests that take logs by the
// OpenTelemetry Protocol, over HTTP and over gRPC.
package otlptest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
)

// Decode reads a request with OpenTelemetry's own definitions. (LogsData has the
// same form as ExportLogsServiceRequest, whose package brings gRPC along.)
func Decode(body []byte) (*logs.LogsData, error) {
	data := &logs.LogsData{}
	if err := proto.Unmarshal(body, data); err != nil {
		return nil, err
	}
	var unknown error
	for _, rl := range data.ResourceLogs {
		for _, m := range []proto.Message{rl, rl.Resource} {
			if len(m.ProtoReflect().GetUnknown()) > 0 {
				unknown = errors.New("unknown fields")
			}
		}
	}
	return data, unknown
}

// linesOf checks a request strictly and returns its records.
func linesOf(body []byte) ([]sinktest.Line, error) {
	data, err := Decode(body)
	if err != nil {
		return nil, err
	}
	var all []sinktest.Line
	for _, rl := range data.ResourceLogs {
		name := ""
		for _, a := range rl.Resource.GetAttributes() {
			if a.Key == "container.name" {
				name = a.Value.GetStringValue()
			}
		}
		if name == "" || len(rl.ScopeLogs) != 1 || rl.ScopeLogs[0].Scope.GetName() != "log_capturer" || len(rl.ScopeLogs[0].LogRecords) == 0 {
			return nil, fmt.Errorf("resource logs %v", protojson.Format(rl))
		}
		for _, r := range rl.ScopeLogs[0].LogRecords {
			line := sinktest.Line{Source: name, Text: r.Body.GetStringValue()}
			if b := r.Body.GetBytesValue(); b != nil {
				line.Text = string(b)
			}
			stream := ""
			for _, a := range r.Attributes {
				switch a.Key {
				case "log.iostream":
					stream = a.Value.GetStringValue()
				case "log.record.uid":
					line.ID = a.Value.GetStringValue()
				}
			}
			switch stream {
			case "stdout":
			case "stderr":
				line.Stream = record.Stderr
			default:
				return nil, fmt.Errorf("stream %q", stream)
			}
			if r.TimeUnixNano == 0 || r.ObservedTimeUnixNano != r.TimeUnixNano || r.Body == nil {
				return nil, fmt.Errorf("record %v", protojson.Format(r))
			}
			all = append(all, line)
		}
	}
	return all, nil
}

// Response is an ExportLogsServiceResponse.
func Response(rejected int, message string) string {
	if rejected == 0 && message == "" {
		return ""
	}
	p := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(rejected))
	p = protowire.AppendString(protowire.AppendTag(p, 2, protowire.BytesType), message)
	return string(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), p))
}

// take reads a request, and answers what a destination answers that keeps what
// it does not refuse.
func take(r *sinktest.HTTPRequest, message []byte) (sinktest.Answer, string) {
	lines, err := linesOf(message)
	if err != nil {
		return sinktest.Answer{Violation: err.Error()}, ""
	}
	var a sinktest.Answer
	for _, l := range lines {
		if !r.Refuse(l.Text) {
			a.Store = append(a.Store, l)
		}
	}
	if n := len(lines) - len(a.Store); n > 0 {
		return a, Response(n, "not these")
	}
	return a, ""
}

// HTTP is a destination over HTTP.
var HTTP = sinktest.Protocol{
	Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %v", r.Method, r.URL, r.Header)}
		}
		a, body := take(r, r.Body)
		a.Body = body
		return a
	},
	Busy: func(f sinktest.Fault) sinktest.Answer {
		a := sinktest.Answer{Status: http.StatusServiceUnavailable}
		if f.RetryAfter > 0 {
			a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
		}
		return a
	},
	TooLarge:     func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
	Authorized:   func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Bearer "+token },
	Unauthorized: func() sinktest.Answer { return sinktest.Answer{Status: http.StatusUnauthorized} },
}

// headerBytes is the length of what stands before a message of gRPC.
const headerBytes = 5

// Frame is a message of gRPC, uncompressed.
func Frame(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// Status is an answer to a call that failed: its Status stands among the headers.
func Status(code int, message, details string) sinktest.Answer {
	a := sinktest.Answer{Header: map[string]string{"Content-Type": "application/grpc", "Grpc-Status": fmt.Sprint(code), "Grpc-Message": message}}
	if details != "" {
		a.Header["Grpc-Status-Details-Bin"] = details
	}
	return a
}

// RetryDetails is a google.rpc.Status with a RetryInfo.
func RetryDetails(after time.Duration) string {
	message := func(num protowire.Number, b, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
	}
	delay := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(after/time.Second))
	delay = protowire.AppendVarint(protowire.AppendTag(delay, 2, protowire.VarintType), uint64(after%time.Second))
	detail := message(1, nil, []byte("type.googleapis.com/google.rpc.RetryInfo"))
	detail = message(2, detail, message(1, nil, delay))
	other := message(1, nil, []byte("type.googleapis.com/google.rpc.DebugInfo"))
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 14)
	return base64.RawStdEncoding.EncodeToString(message(3, message(3, b, other), detail))
}

// GRPC is one over gRPC.
var GRPC = sinktest.Protocol{
	HTTP2: true,
	Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		b := r.Body
		if r.Method != http.MethodPost || r.URL.Path != "/opentelemetry.proto.collector.logs.v1.LogsService/Export" || r.Header.Get("Content-Type") != "application/grpc" ||
			r.Header.Get("Te") != "trailers" || len(b) < headerBytes || int(binary.BigEndian.Uint32(b[1:]))+headerBytes != len(b) {
			return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %v, %d bytes", r.Method, r.URL, r.Header, len(b))}
		}
		message := b[headerBytes:]
		if compressed := b[0] == 1; compressed != (r.Header.Get("Grpc-Encoding") == "gzip") {
			return sinktest.Answer{Violation: fmt.Sprintf("flag %d with encoding %q", b[0], r.Header.Get("Grpc-Encoding"))}
		} else if compressed {
			var err error
			if message, err = sinktest.Gunzip(message); err != nil {
				return sinktest.Answer{Violation: err.Error()}
			}
		}
		a, body := take(r, message)
		a.Body = Frame(body)
		a.Header = map[string]string{"Content-Type": "application/grpc"}
		a.Trailer = map[string]string{"Grpc-Status": "0"}
		return a
	},
	Busy: func(f sinktest.Fault) sinktest.Answer {
		if f.RetryAfter > 0 {
			return Status(14, "busy", RetryDetails(f.RetryAfter))
		}
		return Status(14, "busy", "")
	},
	TooLarge: func() sinktest.Answer {
		return Status(8, "grpc: received message larger than max (9000 vs. 8192)", "")
	},
	Authorized: func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Bearer "+token },
	Unauthorized: func() sinktest.Answer {
		return Status(16, "bad token", "")
	},
}
