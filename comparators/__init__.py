"""Say what the two sides show and where they differ: pure functions and frozen values, no clock, no input or output."""
