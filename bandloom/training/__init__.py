"""Training engine: plain torch or DeepSpeed, the loop, learning rates, snapshots and resume."""
