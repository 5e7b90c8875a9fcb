"""Publishing: the ledger that lets a post out at most once, and the publishers that carry it out."""
