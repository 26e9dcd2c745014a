"""Carries a cutover: its configuration, the parts it acts through, and how it is shown; nothing here decides."""
