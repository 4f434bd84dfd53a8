//go:build tools

// Package programs pins CoreDNS: `go build` reads its version from go.mod.
package programs

import _ "github.com/coredns/coredns"
