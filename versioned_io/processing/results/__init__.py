"""Results of fingerprints: stored in batches, found by fingerprint, the first of each kept."""
