"""Pulumi components and the resource provider."""

import os

# Before gRPC is loaded: what it does in a fork disturbs the programs that we start beside it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
