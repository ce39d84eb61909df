"""Compaction: many small blocks of a tenant's day become few, sorted as a whole."""
