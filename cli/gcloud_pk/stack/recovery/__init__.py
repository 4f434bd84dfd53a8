"""Backups of a cluster, and its way back: snapshots judged, restored, and access revoked since kept away."""
