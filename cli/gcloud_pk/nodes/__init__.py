"""Inventory from a site, hardening runs, node checks."""
