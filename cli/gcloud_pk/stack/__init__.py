"""Pulumi components and the resource provider."""
