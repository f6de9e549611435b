"""The datums that exist and existed, the plan for each of them, and the exact change of their outputs."""
