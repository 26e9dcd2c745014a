"""Decide from findings and evidence, and act through ports; the deciding modules perform nothing."""
