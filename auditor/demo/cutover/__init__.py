"""A whole cutover on servers of its own: clients that write all the time, a proxy before them, faults and kills."""
