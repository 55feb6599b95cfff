package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// exposition serves the metrics of registry. A collector that goes wrong costs
// its own metrics and a line in the log, not those of the others. They are not
// compressed: that takes 800 KiB for each scrape at a time, to save 10.
func exposition(registry *prometheus.Registry, logger *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{logger},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		EnableOpenMetrics:   true,
		DisableCompression:  true,
	})
}

// errorLog passes promhttp's complaints to the log.
type errorLog struct{ logger *slog.Logger }

func (l errorLog) Println(v ...any) {
	l.logger.Error("metrics_incomplete", "error", fmt.Sprint(v...))
}

// pprofHandler serves the runtime's profiles. It uses a mux of its own: what
// net/http/pprof adds to http.DefaultServeMux is served nowhere.
func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/debug/pprof/", get(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/cmdline", get(http.HandlerFunc(pprof.Cmdline)))
	mux.Handle("/debug/pprof/profile", get(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/trace", get(http.HandlerFunc(pprof.Trace)))
	// The pprof tool posts addresses to be looked up.
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.Handle("/", notFound)
	return mux
}
