"""Decisions about when to stop."""
