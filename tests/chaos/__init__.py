"""Loops that kill and pause real processes; `python -m tests.chaos` runs them at length."""
