"""Evidence bundles: what was decided and what it rested on, redacted, for whoever audits the auditors."""
