"""Launching any stage on a Slurm cluster: plain readable batch scripts, and what survives them."""
