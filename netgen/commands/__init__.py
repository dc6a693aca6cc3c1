"""The command line: a file per verb, each importing what it needs inside its function."""
