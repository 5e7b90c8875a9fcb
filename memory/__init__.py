"""Whatever outlives a function call."""
