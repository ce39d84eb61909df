"""From a finished window to an acknowledged push: envelope, queue, retries, transport."""
