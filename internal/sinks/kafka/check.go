package kafka

import (
	"context"

	"log_capturer/internal/kafkaclient"
)

// Tried says what Check finds out.
func (s *Sink) Tried() string {
	if _, fixed := s.topic.tmpl.Fixed(); !fixed {
		return "the brokers and the login, not the topic, which depends on the record"
	}
	return "the brokers, the login and the topic"
}

// Check connects and logs in, and asks about the topic, where all records go to
// the same one. It produces nothing, and makes no topic.
func (s *Sink) Check(ctx context.Context) error {
	q := kafkaclient.Question{Right: kafkaclient.Write, MayBeMade: s.createTopics}
	if name, fixed := s.topic.tmpl.Fixed(); fixed {
		q.Topics = []string{name}
	}
	return kafkaclient.Look(ctx, s.options, s.trouble, q)
}
