//go:build tools

// Package programs pins the engine of Pulumi: `go build` reads its version from go.mod.
package programs

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
