"""Vocabulary: what users compose. Each file holds one component and how it lowers to nodes."""
