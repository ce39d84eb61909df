"""Other profilers' APIs on top of this one; one module for each."""
