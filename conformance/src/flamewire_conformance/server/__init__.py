"""Servers as targets: what is sent to them, what they answer, and what queries then show."""
