package kafka

import (
	"context"

	"log_capturer/internal/kafkaclient"
)

// Check connects and logs in, and asks about the topics and the group, without
// joining it or reading anything.
func Check(ctx context.Context, o Options) error {
	options, trouble, err := o.Client.Client()
	if err != nil {
		return err
	}
	return kafkaclient.Look(ctx, options, trouble, kafkaclient.Question{
		Topics: o.Topics, Right: kafkaclient.Read, Group: o.Group,
	})
}
