"""What acts on real systems for a cutover: each module implements one port, idempotently, and decides nothing."""
