"""Live probes: packets between pods, to servers and nodes, and whether each came through as the request implies."""
