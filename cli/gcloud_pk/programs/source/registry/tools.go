//go:build tools

// Package programs pins the registry of images: `go build` reads its version from go.mod.
package programs

import _ "github.com/distribution/distribution/v3/cmd/registry"
