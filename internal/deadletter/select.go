package deadletter

import (
	"encoding/json"
	"slices"
)

// Selection says which letters are meant: those to which all of what is set
// applies. The zero Selection means all.
type Selection struct {
	// IDs are the numbers of letters.
	IDs []uint64 `json:"ids,omitempty"`
	// Sink is the sink that they were for, Reason why they were refused.
	Sink   string `json:"sink,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (sel Selection) has(id uint64, k kind) bool {
	return (len(sel.IDs) == 0 || slices.Contains(sel.IDs, id)) &&
		(sel.Sink == "" || sel.Sink == k.sink) && (sel.Reason == "" || sel.Reason == k.reason)
}

// Letter is a dead letter as the store shows it: its number, and the object that
// the file holds.
type Letter struct {
	ID uint64 `json:"id"`
	// Object is the JSON of the letter.
	Object json.RawMessage `json:"letter"`
}

// Entry returns the letter's entry.
func (l Letter) Entry() (Entry, error) {
	var o object
	if err := json.Unmarshal(l.Object, &o); err != nil {
		return Entry{}, err
	}
	return o.entry(), nil
}

// IDs returns the numbers of the selected letters, oldest first, without reading
// them.
func (s *Store) IDs(sel Selection) (ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		for i, k := range p.kinds {
			id := p.first + uint64(i)
			if _, gone := p.gone[id]; !gone && sel.has(id, s.kinds[k]) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Read returns the letters of these numbers that are still there, oldest first.
func (s *Store) Read(ids []uint64) ([]Letter, error) {
	wanted := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var letters []Letter
	for _, p := range s.parts {
		if !slices.ContainsFunc(ids, func(id uint64) bool { return id >= p.first && id < p.end() }) {
			continue
		}
		err := p.letters.eachLine(func(n uint64, line []byte) error {
			id := p.first + n
			if _, gone := p.gone[id]; wanted[id] && !gone {
				object := json.RawMessage(slices.Clone(line))
				if !json.Valid(object) {
					object, _ = json.Marshal(string(line)) // never fails for a string
				}
				letters = append(letters, Letter{ID: id, Object: object})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return letters, nil
}
