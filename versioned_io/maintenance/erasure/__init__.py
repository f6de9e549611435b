"""Taking files and secrets out of all of history, with proof."""
