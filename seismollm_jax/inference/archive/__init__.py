"""Archives of any size, picked station-day by station-day."""
