"""Controllers that choose among settings."""
