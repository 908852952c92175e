//go:build tools

// Package tools pins the kwok that localkube builds: it holds no code of its own.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
