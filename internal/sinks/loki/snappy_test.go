package loki

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"
)

func TestSnappy(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var text []byte
	for i := range 9000 {
		text = fmt.Appendf(text, "line %d of many that are alike\n", i)
	}
	for _, source := range [][]byte{noise, text} {
		for _, n := range []int{0, 1, 15, snappyPiece - 1, snappyPiece, snappyPiece + 1, 2 * snappyPiece, 4*snappyPiece + 7, len(source)} {
			src := source[:n]
			room := make([]byte, 0, snappyRoom(n))
			got := appendSnappy(room, src)
			if &room[:1][0] != &got[0] {
				t.Errorf("%d bytes: more room was taken than was there", n)
			}
			if back, err := s2.Decode(nil, slices.Clone(got)); err != nil || !bytes.Equal(back, src) {
				t.Errorf("%d bytes come back as %d: %v", n, len(back), err)
			}
		}
	}
}
