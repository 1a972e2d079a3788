"""Wishes: how hard to try a component, for how long, where, and what to do in the end. Pure: nothing here sleeps."""
