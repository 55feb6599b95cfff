package loki

import (
	"net/http"
	"strings"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
)

// statusBlocked is what Loki answers by default while a tenant's ingestion is
// blocked. (It can be configured to answer 200 instead, which no client can
// tell from success.)
const statusBlocked = 260

// read translates Loki's answer to a push of the records that sent returns, which
// the indexes of a PartialError count, to what delivery.Sink promises.
func (s *Sink) read(res *httpclient.Response, sent func() []*record.Record) error {
	switch {
	case res.Status == http.StatusNoContent:
		return nil
	case res.Status == http.StatusOK:
		// Loki has no pages: this is somebody's login or welcome.
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			return res.Error("this is a web page, not Loki: check the sink's url")
		}
		return nil
	case res.Status == statusBlocked:
		return res.Error("Loki blocks this tenant's ingestion: see block_ingestion_until in its limits")
	case res.Status > 200 && res.Status < 300:
		return res.Error("Loki answers 204: check the sink's url")
	case res.Status == http.StatusBadRequest:
		return s.readRefusal(res, sent())
	default:
		return res.Classify()
	}
}
