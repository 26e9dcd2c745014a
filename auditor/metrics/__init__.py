"""Every metric of the auditor, in one table; values are taken from the last evaluation when somebody scrapes.

Names: prefix `auditor_`, base units (seconds, bytes, ratios from 0 to 1), `_total` for counters. Times are timestamps
(`_timestamp_seconds`), so that `time() - x` also grows when nobody counts any more. Labels are bounded: names of
conditions, tables, processes, slots and groups, and our own words. Never a key, a position or a text of the user's.
"""

from auditor.metrics.audits import METRICS as AUDITS
from auditor.metrics.cutovers import METRICS as CUTOVERS
from auditor.metrics.exporter import Exporter
from auditor.metrics.servers import METRICS as SERVERS
from auditor.metrics.values import Declared, View
from auditor.metrics.verdicts import METRICS as VERDICTS

METRICS: tuple[Declared, ...] = (*VERDICTS, *AUDITS, *SERVERS, *CUTOVERS)

__all__ = ["METRICS", "Declared", "Exporter", "View"]
