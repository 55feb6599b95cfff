package config

import "log_capturer/internal/secret"

// Secret is a text that must not appear in any output.
type Secret = secret.Text
