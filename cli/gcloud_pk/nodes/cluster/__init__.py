"""The audit of a cluster: what its nodes, its API and its ports show, against the benchmark and the site file."""
