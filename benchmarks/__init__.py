"""Measurements that print ratios against a limit or a peer of the same run: `python -m benchmarks.NAME --json`."""
