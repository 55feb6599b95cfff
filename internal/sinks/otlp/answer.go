package otlp

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
)

// partialSuccess is what an ExportLogsServiceResponse says of a request that was
// taken.
type partialSuccess struct {
	rejected int64
	message  string
}

// errMalformed says that bytes are no message of protobuf.
var errMalformed = errors.New("malformed protobuf")

// fields calls f with each field of a message: its bytes, or its number.
func fields(b []byte, f func(num protowire.Number, content []byte, value uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		var content []byte
		var value uint64
		switch typ {
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errMalformed
		}
		if err := f(num, content, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// parseResponse reads an ExportLogsServiceResponse.
func parseResponse(body []byte) (p partialSuccess, err error) {
	err = fields(body, func(num protowire.Number, content []byte, _ uint64) error {
		if num != 1 { // partial_success
			return nil
		}
		return fields(content, func(num protowire.Number, content []byte, value uint64) error {
			switch num {
			case 1: // rejected_log_records
				p.rejected = int64(value)
			case 2: // error_message
				p.message = string(content)
			}
			return nil
		})
	})
	return p, err
}

// readResponse translates the answer to a request that was taken to what
// delivery.Sink promises.
func (s *Sink) readResponse(res *httpclient.Response, body []byte, req *delivery.Request) error {
	p, err := parseResponse(body)
	if err != nil {
		return res.Error("this is no answer of an OpenTelemetry destination: check the sink's url and protocol")
	}
	text := res.Shown(p.message)
	n := req.Len()
	switch {
	case p.rejected <= 0:
		if text != "" {
			s.logger.Warn("destination_warns", "message", text)
		}
		return nil
	case p.rejected < int64(n):
		return &delivery.PermanentError{Reason: "partial_success", Err: fmt.Errorf("%d of %d records rejected: %s", p.rejected, n, text)}
	}
	refused := make([]delivery.Refusal, n)
	for i := range refused {
		refused[i] = delivery.Refusal{Index: i, Reason: "rejected", Detail: text}
	}
	return &delivery.PartialError{Refused: refused}
}

// The codes of gRPC, and which are what.
const (
	codeOK                = 0
	codeInvalidArgument   = 3
	codeNotFound          = 5
	codePermissionDenied  = 7
	codeResourceExhausted = 8
	codeUnimplemented     = 12
	codeUnauthenticated   = 16
)

// readCall translates the answer to a call.
func (s *Sink) readCall(res *httpclient.Response, req *delivery.Request) error {
	if res.Status != 200 {
		if err := res.Classify(); err != nil {
			return err
		}
	}
	get := func(name string) string {
		// A call that fails at once has its status among the headers.
		if v := res.Trailer.Get(name); v != "" {
			return v
		}
		return res.Header.Get(name)
	}
	code, err := strconv.Atoi(get("Grpc-Status"))
	if err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/grpc") {
		return res.Error("this is no answer of a gRPC server: check the sink's url and protocol")
	}
	if code == codeOK {
		message, err := unframe(res.Body)
		if err != nil {
			return res.Error(err.Error())
		}
		return s.readResponse(res, message, req)
	}
	text, err := url.PathUnescape(get("Grpc-Message"))
	if err != nil {
		text = get("Grpc-Message")
	}
	failure := fmt.Errorf("destination answered gRPC status %d: %s%s", code, res.Shown(text), hint(code))
	switch {
	case code == codeInvalidArgument:
		return &delivery.PermanentError{Reason: "invalid_argument", Err: failure}
	case code == codeResourceExhausted && strings.Contains(text, "larger than max"):
		return &delivery.TooLargeError{Err: failure}
	}
	if after := retryInfo(get("Grpc-Status-Details-Bin")); after > 0 {
		return &delivery.RetryAfterError{After: after, Err: failure}
	}
	return failure
}

// hint says what an operator can do about a code.
func hint(code int) string {
	switch code {
	case codeUnauthenticated:
		return " (check the sink's credentials)"
	case codePermissionDenied:
		return " (the credentials are known but may not write here: check their rights)"
	case codeUnimplemented, codeNotFound:
		return " (nobody takes logs there: check the sink's url)"
	}
	return ""
}

// unframe returns the message of a unary answer. It is not compressed, since the
// client has not said that it may be.
func unframe(body []byte) ([]byte, error) {
	if len(body) < frameHeader || body[0] != 0 || uint64(len(body)-frameHeader) != uint64(binary.BigEndian.Uint32(body[1:])) {
		return nil, errors.New("the answer is not one message of gRPC")
	}
	return body[frameHeader:], nil
}

// maxRetryDelay bounds what a destination can ask for.
const maxRetryDelay = time.Hour

// retryInfo returns the delay that a google.rpc.Status in base64 asks for, zero
// when it asks for none.
func retryInfo(encoded string) time.Duration {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return 0
	}
	var seconds, nanos uint64
	// What cannot be read asks for nothing.
	_ = fields(b, func(num protowire.Number, detail []byte, _ uint64) error {
		if num != 3 { // details
			return nil
		}
		var name string
		var value []byte
		err := fields(detail, func(num protowire.Number, content []byte, _ uint64) error {
			switch num {
			case 1: // type_url
				name = string(content)
			case 2: // value
				value = content
			}
			return nil
		})
		if err != nil || !strings.HasSuffix(name, "/google.rpc.RetryInfo") {
			return err
		}
		return fields(value, func(num protowire.Number, delay []byte, _ uint64) error {
			if num != 1 { // retry_delay
				return nil
			}
			return fields(delay, func(num protowire.Number, _ []byte, value uint64) error {
				switch num {
				case 1:
					seconds = value
				case 2:
					nanos = value
				}
				return nil
			})
		})
	})
	if seconds > uint64(maxRetryDelay/time.Second) || nanos >= 1e9 {
		return maxRetryDelay
	}
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
