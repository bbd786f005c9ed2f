"""What runs the networks on CUDA without asking the host: fixed shapes, one graph, a Triton kernel."""
