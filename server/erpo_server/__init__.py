"""ERPO Server: a safety-reasoning layer inside vLLM."""
