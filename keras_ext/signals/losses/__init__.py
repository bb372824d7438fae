"""Measurements of losses."""
