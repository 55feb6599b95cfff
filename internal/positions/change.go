package positions

// Change is a key of the journal and its new value. A nil Value removes the
// key.
type Change struct {
	Key   string
	Value []byte
}
