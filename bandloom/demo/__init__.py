"""``bandloom demo``: every stage, small, on generated scenes or on a real one."""
