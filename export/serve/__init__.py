"""The bundle as a service on the GPU box: uploads in, maps out, everything a client sends taken for hostile."""
