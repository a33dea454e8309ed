//go:build tools

// Package tools names what is built here, so that go.mod keeps what it needs.
package tools

import (
	_ "sigs.k8s.io/kueue/cmd/kueue"
)
