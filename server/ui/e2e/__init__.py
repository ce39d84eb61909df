"""Tests of the page in a browser, with a real server."""
