"""Who listens while a run works."""
