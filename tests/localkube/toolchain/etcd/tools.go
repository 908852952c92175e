//go:build tools

// Package tools pins the etcd server that localkube builds: it holds no code of its own.
package tools

import _ "go.etcd.io/etcd/server/v3"
