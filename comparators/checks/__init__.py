"""The checks of the preflight list: facts of both sides in, items out. Pure."""
