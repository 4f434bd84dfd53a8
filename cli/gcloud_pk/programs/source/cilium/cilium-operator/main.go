// Command cilium-operator is Cilium's operator, built from its published Go module.
package main

import (
	"fmt"
	"os"

	"github.com/cilium/cilium/operator/cmd"
	"github.com/cilium/cilium/pkg/hive"
	"github.com/cilium/cilium/pkg/version"
)

func main() {
	// It has this option, and does not answer it.
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("cilium-operator", version.Version)
		return
	}
	cmd.Execute(cmd.NewOperatorCmd(hive.New(cmd.Operator)))
}
