"""Eyes: read-only answers about a workflow, JSON-ready wherever the user's values are."""
