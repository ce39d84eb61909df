"""Answers: label queries from the catalog, flame graphs and time series from the blocks."""
