"""Looking into databases that anyone made: `info`, `check`, `show`, and back to a data set's files with `export`."""
