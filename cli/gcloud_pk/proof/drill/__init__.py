"""Drills: an element of a data centre is taken out, what its users feel is measured, and no write may be lost."""
