"""Callbacks that follow a plan."""
