"""Rules that leave out whole updates."""
