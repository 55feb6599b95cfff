package delivery

// Held returns the memory of the batches that wait, in bytes.
func (d *Delivery) Held() int64 {
	d.stats.mu.Lock()
	defer d.stats.mu.Unlock()
	return d.stats.inMemoryBytes
}
