//go:build tools

// Package programs pins Cilium: `go build` reads its version from go.mod.
package programs

import (
	_ "github.com/cilium/cilium/cilium-dbg"
	_ "github.com/cilium/cilium/plugins/cilium-cni"
)
