package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pageTemplate is the status page. It is whole in itself: no script, and nothing
// fetched from elsewhere. html/template escapes what containers call
// themselves.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"ago":      ago,
	"bytes":    byteCount,
	"duration": duration,
	"short":    shortID,
}).Parse(pageHTML))

// pagePolicy lets the page apply its own style, which it names by its hash, and
// do nothing else.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		base64.StdEncoding.EncodeToString(sum[:]))
}()

// page is what the template shows.
type page struct {
	Style      template.CSS
	Now        time.Time
	Health     healthAnswer
	Status     Status
	Containers []Container
	// Files are the first files by path, of as many as there may be.
	Files []File
}

// maxShownFiles is how many files the page shows.
const maxShownFiles = 100

// servePage answers with the status page. The page asks for itself again every
// few seconds.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	containers, files := s.containers(), s.files()
	var body bytes.Buffer
	err := pageTemplate.Execute(&body, page{
		Style:      template.CSS(pageCSS), //nolint:gosec // our own file
		Now:        time.Now(),
		Health:     s.health(),
		Status:     s.status(containers, files), // whose counts are those of the table
		Containers: containers,
		Files:      files[:min(len(files), maxShownFiles)],
	})
	if err != nil {
		s.opts.Logger.ErrorContext(r.Context(), "status page not rendered", "error", err)
		writeError(w, http.StatusInternalServerError, "render status page")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(body.Bytes())
}

// duration shows seconds the way people say them, to two units at most.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d m", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// ago shows how long before now t was, "never" for a zero t.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return duration(max(0, now.Sub(t).Seconds())) + " ago"
}

// byteCount shows a number of bytes with a binary unit.
func byteCount(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 1<<10 && unit < 4 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, " KMGT"[unit])
}

// shortID returns the id's first 12 digits, as the docker command shows it.
func shortID(id string) string { return id[:min(len(id), 12)] }
