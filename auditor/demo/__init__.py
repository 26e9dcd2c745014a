"""The demo: two embedded servers, a shop under load, faults to inject, and the auditor watching it."""
