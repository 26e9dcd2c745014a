"""One module per group of commands: each parses, loads the settings, and calls the module that does the work."""
