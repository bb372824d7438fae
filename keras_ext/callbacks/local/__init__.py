"""Callbacks that let replicas train apart for a while."""
