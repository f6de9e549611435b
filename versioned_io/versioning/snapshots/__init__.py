"""The read view of one commit."""
