"""Reports of findings, for people and for machines."""
