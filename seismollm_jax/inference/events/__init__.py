"""Picks in pairs, with the answers of the other networks at each P."""
