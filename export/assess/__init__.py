"""Map accuracy and class areas with errors, estimated from a stratified sample of reference points."""
