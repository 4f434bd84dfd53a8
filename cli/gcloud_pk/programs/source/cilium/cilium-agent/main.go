// Command cilium-agent is Cilium's agent, built from its published Go module.
package main

import (
	"github.com/cilium/cilium/daemon/cmd"
	"github.com/cilium/cilium/pkg/hive"
)

func main() { cmd.Execute(cmd.NewAgentCmd(hive.New(cmd.Agent))) }
