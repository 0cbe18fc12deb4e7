"""What is drawn of records, picks and events, and pages of HTML on them."""
