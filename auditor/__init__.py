"""The processes: carry values between samplers, comparators and orchestrator, and show them."""
