"""Files written whole or not at all by one writer, rows of CSV, and points with their columns."""
