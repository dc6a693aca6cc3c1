"""Making a database: `pack` leads annotations and images (`picture`) into records (`record`) and these to `outputs`."""
