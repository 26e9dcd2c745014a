"""Measurements that print ratios against a limit or a peer taken in the same run: `python -m benchmarks.NAME --json`."""
