"""One file a verb. Each has `register(verbs)`, and imports what is heavy inside its functions."""

VERBS = (
    "demo",
    "brand",
    "cycle",
    "create",
    "session",
    "watch",
    "piece",
    "review",
    "lint",
    "worker",
    "publish",
    "queue",
    "knowledge",
    "memory",
    "tools",
    "budget",
    "why",
    "doctor",
    "db",
    "backup",
    "restore",
    "migrate",
)
"""The modules of this folder, in the order in which `--help` lists them."""
