"""The console: one page in the gate's process that shows what the gate decided, and why.

It decides nothing and reads no server. What it shows comes from one evaluation and the records behind it; what it
cannot vouch for it shows as not known.
"""

from auditor.console.routes import register

__all__ = ["register"]
