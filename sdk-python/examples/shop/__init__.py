"""A small web shop that does real work, to have something to profile: `python -m shop --port 8080`."""
