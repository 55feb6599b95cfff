package httpclient

import "github.com/klauspost/compress/gzip"

// Gzip compresses request bodies. The zero Gzip is ready. It is kept from
// request to request by one goroutine at a time.
type Gzip struct {
	writer *gzip.Writer
	out    appender
}

// Append appends the compressed src to dst, which must not overlap it.
func (z *Gzip) Append(dst, src []byte) ([]byte, error) {
	z.out.bytes = dst
	if z.writer == nil {
		w, err := gzip.NewWriterLevel(&z.out, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		z.writer = w
	} else {
		z.writer.Reset(&z.out)
	}
	_, err := z.writer.Write(src)
	if err == nil {
		err = z.writer.Close()
	}
	dst, z.out.bytes = z.out.bytes, nil
	return dst, err
}

// appender appends what is written to it.
type appender struct{ bytes []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.bytes = append(a.bytes, p...)
	return len(p), nil
}
