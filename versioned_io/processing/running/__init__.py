"""Evaluating pending datums: in this process or in those of an executor, in batches that are durable one by one."""
