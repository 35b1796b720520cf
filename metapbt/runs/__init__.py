"""One run: its plan, its loop, and what ends it."""
