"""The embedded default: a real control plane on one machine."""
