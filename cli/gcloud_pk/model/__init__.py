"""Frozen models of what the domain speaks of; no I/O."""
