"""Golden vectors: bodies of requests with their meaning, made by code that no SDK and no server shares."""
