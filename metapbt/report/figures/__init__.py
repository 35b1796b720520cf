"""Figures, each beside the table that it draws."""
