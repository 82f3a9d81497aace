"""Whole commands on small sounds."""
