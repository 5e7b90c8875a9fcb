"""What may be done to the world."""
