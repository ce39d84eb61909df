"""From a request body to a durable block: the formats, and the group commit."""
