"""The tools that come with the product, a file a family. A file put here is found by itself (docs/add-a-tool.md)."""
