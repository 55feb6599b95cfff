package config

import (
	"fmt"
	"net"
	"strings"
)

func (v validator) kafka(k *Kafka, path string) {
	v.brokers(k.Brokers, path)
	if k.Topic == "" {
		v.wrong(path+".topic", "is empty; give a topic, as in logs")
	} else if v.template(path+".topic", k.Topic, nil) != nil {
		notAllowed := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		}
		if strings.ContainsFunc(strings.Join(textsOf(k.Topic), ""), notAllowed) {
			v.wrong(path+".topic", "want a name of letters, digits, '.', '_' and '-', not %q", shorten(k.Topic))
		}
	}
	if k.Format == "json" {
		v.documents(k.Documents, path)
	}
	v.kafkaLogin(&k.Login, path)
}

func (v validator) kafkaSource(k *KafkaSource) {
	const path = "kafka_source"
	if !k.Enabled {
		return
	}
	v.brokers(k.Brokers, path)
	if len(k.Topics) == 0 {
		v.wrong(path+".topics", "topics is missing; give the topics to read")
	}
	if k.Group == "" {
		v.wrong(path+".group", "is empty; give the name of a consumer group")
	}
	if k.Format == "json" && (k.LineField == "" || k.LineField == k.TimeField) {
		v.wrong(path+".line_field", "want the name of a document's line, not %q", shorten(k.LineField))
	}
	v.kafkaLogin(&k.Login, path)
}

// brokers checks addresses of brokers.
func (v validator) brokers(brokers []string, path string) {
	if len(brokers) == 0 {
		v.wrong(path+".brokers", "brokers is missing; give the address of one broker or more, as in [kafka:9092]")
	}
	for i, b := range brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			v.wrong(fmt.Sprintf("%s.brokers[%d]", path, i), "want host:port, as in kafka:9092, not %q", shorten(b))
		}
	}
}

func (v validator) kafkaLogin(l *KafkaLogin, path string) {
	s := l.SASL
	switch {
	case s.Mechanism == "none" && (s.Username != "" || !s.Password.IsZero()):
		v.contradiction([]string{path + ".sasl.mechanism", path + ".sasl.username", path + ".sasl.password", path + ".sasl.password_file"},
			"a user without a mechanism; give plain, scram-sha-256 or scram-sha-512")
	case s.Mechanism != "none" && s.Username == "":
		v.wrong(path+".sasl.username", "username is missing")
	case s.Mechanism != "none" && s.Password.IsZero() && s.PasswordFile == "":
		v.wrong(path+".sasl.password", "password is missing; give it, or password_file")
	}
	if !l.UseTLS && l.TLS != (TLS{}) {
		v.contradiction([]string{path + ".use_tls", path + ".tls"}, "tls has no effect without use_tls: true")
	}
	v.tls(&l.TLS, path+".tls")
}
