"""The one transport to an API server; plan, apply, prune. Knows objects, not tenants."""
