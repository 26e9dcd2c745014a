"""Watch the two databases and yield observations; nothing here judges what is seen."""
