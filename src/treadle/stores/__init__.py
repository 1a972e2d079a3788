"""Stores: where the logs of runs are kept."""
