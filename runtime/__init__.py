"""What keeps it all going."""
