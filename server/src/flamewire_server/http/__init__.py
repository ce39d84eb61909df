"""The HTTP surface: one module per service, and what they share of the Connect protocol."""
