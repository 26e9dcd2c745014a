"""Probes of both sides: each reads facts, hands them to its checks, and gives items and figures."""
