"""Typed client over the `openai` SDK, and the `erpo` command line."""
