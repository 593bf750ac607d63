"""Embeddings on disk, whole or not at all, each with the record of how it was made."""
